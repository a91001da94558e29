"""Downloads from a real server on the loopback interface that misbehaves in every way that it can."""

import hashlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from minigpt.download import DownloadError, download, public_address

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

    def huge(self) -> None:
        self.answer(length=10**12)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving) as http:
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://user:secret@127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.fixture
def fetch(server: str, tmp_path: Path) -> Callable[..., str]:
    def fetch(path: str, sha256: str | None = None, max_bytes: int = 100_000) -> str:
        return download(
            f"{server}/{path}?token=secret",
            tmp_path / "text",
            max_bytes=max_bytes,
            sha256=sha256,
            timeout_seconds=TIMEOUT_SECONDS,
            deadline_seconds=DEADLINE_SECONDS,
        )

    return fetch


@pytest.mark.parametrize("path", ["good", "moved", "longer"])
def test_what_arrives_whole_is_kept(fetch: Callable[..., str], path: str, tmp_path: Path) -> None:
    """A server that sends more than it told is cut off at what it told: that is where HTTP says the body ends."""
    assert fetch(path, DIGEST) == DIGEST
    assert (tmp_path / "text").read_bytes() == TEXT


@pytest.mark.parametrize(
    ("path", "words", "transient"),
    [
        ("truncated", "cannot be fetched", True),
        ("missing", "status 404", False),
        ("busy", "status 429", True),
        ("broken", "status 500", True),
        ("drip", "too slow", True),
        ("stall", "ReadTimeout", True),
        ("reset", "cannot be fetched", True),
        ("loop", "redirects more than 5 times", False),
        ("to_file", "redirects to file:", False),
        ("to_link_local", "redirects to the private address", False),
        ("bomb", "compressed", False),
        ("endless", "over corpus.max_bytes", False),
        ("huge", "over corpus.max_bytes", False),
    ],
)
def test_a_fault_is_named_bounded_and_leaves_nothing(
    fetch: Callable[..., str], path: str, words: str, transient: bool, tmp_path: Path
) -> None:
    started = time.monotonic()
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1") as caught:
        fetch(path)
    assert time.monotonic() - started < DEADLINE_SECONDS + 1
    assert words in str(caught.value)
    assert caught.value.transient == transient
    assert "secret" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_another_text_than_the_pinned_one_is_refused(fetch: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"sha256 {DIGEST}.*corpus.sha256=null") as caught:
        fetch("good", "0" * 64)
    assert not caught.value.transient
    assert not list(tmp_path.iterdir())


def test_nobody_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:9/x cannot be fetched"):
        download("http://127.0.0.1:9/x", tmp_path / "text", max_bytes=1, sha256=None)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://user:secret@host:8/a/b?token=secret#part", "https://host:8/a/b"),
        ("some/file.txt", "some/file.txt"),
    ],
)
def test_an_address_is_shown_without_secrets(address: str, shown: str) -> None:
    assert public_address(address) == shown
