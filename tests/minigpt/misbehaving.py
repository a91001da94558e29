"""A web server on the loopback interface that misbehaves as the path of its address says."""

import base64
import hashlib
import socket
import struct
import time
from http.server import BaseHTTPRequestHandler

TEXT = b"A text that is worth a download.\n" * 100
DIGEST = hashlib.sha256(TEXT).hexdigest()
TIMEOUT_SECONDS = 0.5
DEADLINE_SECONDS = 1.5


class Misbehaving(BaseHTTPRequestHandler):
    """Answers as the path's name says."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        try:
            getattr(self, self.path.strip("/").split("?")[0])()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self, status: int = 200, body: bytes = TEXT, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def good(self) -> None:
        self.answer()

    def moved(self) -> None:
        self.answer(302, b"", Location="/good")

    def truncated(self) -> None:
        self.answer(body=TEXT[:50], length=len(TEXT))
        self.close_connection = True

    def longer(self) -> None:
        self.answer(body=TEXT + b"more", length=len(TEXT))

    def missing(self) -> None:
        self.answer(404)

    def busy(self) -> None:
        self.answer(429)

    def broken(self) -> None:
        self.answer(500)

    def drip(self) -> None:
        self.answer(body=b"", length=90_000)
        while True:
            self.wfile.write(b"x")
            time.sleep(0.05)

    def stall(self) -> None:
        self.answer(body=b"x", length=100)
        time.sleep(3 * TIMEOUT_SECONDS)

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def loop(self) -> None:
        self.answer(302, b"", Location="/loop")

    def to_file(self) -> None:
        self.answer(302, b"", Location="file:///etc/hostname")

    def to_link_local(self) -> None:
        self.answer(302, b"", Location="http://169.254.169.254/latest/meta-data")

    def bomb(self) -> None:
        self.answer(body=b"\x1f\x8b" + bytes(1000), Content_Encoding="gzip")

    def endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(b"x" * 65_536)

    def moved_with_a_mistake(self) -> None:
        self.answer(302, b"", Location="http://[127.0.0.1/good")

    def moved_without_a_place(self) -> None:
        self.answer(302, b"")

    def to_another_scheme(self) -> None:
        self.answer(302, b"", Location="ftp://127.0.0.1/good")

    def part(self) -> None:
        """Half of it, as for a range that nobody asked for."""
        self.answer(206, TEXT[:50], Content_Range=f"bytes 0-49/{len(TEXT)}")

    def changing(self) -> None:
        """Another text each time."""
        self.server.times = getattr(self.server, "times", 0) + 1  # type: ignore[attr-defined]
        self.answer(body=TEXT + str(self.server.times).encode())  # type: ignore[attr-defined]

    def chunked(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(TEXT), TEXT))

    def whole_chunks(self) -> None:
        self.chunked()
        self.wfile.write(b"0\r\n\r\n")

    def torn_chunks(self) -> None:
        self.chunked()
        self.close_connection = True

    def dripping_head(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while True:
            self.wfile.write(b"x")
            time.sleep(0.05)

    def endless_head(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while True:
            self.wfile.write(b"x" * 65_536)

    def always_soon(self) -> None:
        while True:
            self.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")
            time.sleep(0.05)

    def garbage(self) -> None:
        self.wfile.write(bytes(range(256)))
        self.close_connection = True

    def wrong_length(self) -> None:
        self.answer(Content_Length="many")

    def silent(self) -> None:
        time.sleep(3 * TIMEOUT_SECONDS)

    def nothing(self) -> None:
        self.answer(body=b"")

    def asking(self) -> None:
        """The password goes with the first address, and with a redirect on the same host."""
        expected = "Basic " + base64.b64encode(b"user:secret").decode()
        self.answer(200 if self.headers["Authorization"] == expected else 401)

    def moved_to_asking(self) -> None:
        self.answer(302, b"", Location="/asking")

    def moved_away(self) -> None:
        self.answer(302, b"", Location=f"http://127.0.0.1:{self.server.server_port}/asking")  # type: ignore[attr-defined]

    def huge(self) -> None:
        self.answer(length=10**12)
