"""Downloads from a real server on the loopback interface that misbehaves in every way that it can."""

import asyncio
import base64
import hashlib
import io
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from minigpt import corpus
from minigpt.corpus import CorpusConfig
from minigpt.download import DownloadError, check_target, download, public_address
from minigpt.errors import InputError

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


@pytest.mark.parametrize("path", ["good", "moved", "longer", "whole_chunks", "asking", "moved_to_asking"])
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
        ("to_link_local", "leads to the private address", False),
        ("bomb", "compressed", False),
        ("endless", "over corpus.max_bytes", False),
        ("huge", "over corpus.max_bytes", False),
        ("torn_chunks", "cannot be fetched", True),
        ("silent", "ReadTimeout", True),
        ("garbage", "cannot be fetched", True),
        ("endless_head", "cannot be fetched", True),
        ("wrong_length", "cannot be fetched", True),
        ("part", "status 206", False),
        ("moved_without_a_place", "status 302", False),
        ("to_another_scheme", "redirects to ftp:", False),
        ("moved_away", "status 401", False),
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


def test_a_text_that_changes_is_told_by_its_digest(fetch: Callable[..., str], tmp_path: Path) -> None:
    """Two downloads of a text that changed in between; the one pinned before does not replace what is there."""
    first = fetch("changing")
    kept = (tmp_path / "text").read_bytes()
    with pytest.raises(DownloadError, match=rf"sha256 [0-9a-f]{{64}}, and {first} is pinned"):
        fetch("changing", first)
    assert (tmp_path / "text").read_bytes() == kept
    assert fetch("changing") != first
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


@pytest.mark.parametrize(("max_bytes", "fits"), [(len(TEXT), True), (len(TEXT) - 1, False)])
@pytest.mark.parametrize("path", ["good", "whole_chunks"])
def test_the_limit_is_exact(fetch: Callable[..., str], path: str, max_bytes: int, fits: bool, tmp_path: Path) -> None:
    if fits:
        assert fetch(path, max_bytes=max_bytes) == DIGEST
        return
    with pytest.raises(DownloadError, match=rf"over corpus\.max_bytes {max_bytes}; raise it"):
        fetch(path, max_bytes=max_bytes)
    assert not list(tmp_path.iterdir())


def test_an_empty_body_is_a_text_of_no_bytes(fetch: Callable[..., str], tmp_path: Path) -> None:
    """That it is none is said by the corpus."""
    assert fetch("nothing") == hashlib.sha256().hexdigest()
    with pytest.raises(InputError, match="is empty"):
        corpus.check_text(io.BytesIO((tmp_path / "text").read_bytes()), "test")


@pytest.mark.parametrize(("path", "words"), [("missing", "status 404"), ("good", "is pinned")])
def test_a_corpus_is_fetched_with_the_same_care(server: str, path: str, words: str, tmp_path: Path) -> None:
    address = f"{server}/{path}"
    assert corpus.read_source(CorpusConfig(source=f"{server}/good", sha256=DIGEST), tmp_path / "good") == DIGEST
    with pytest.raises(InputError, match=words) as caught:
        corpus.read_source(CorpusConfig(source=address, sha256="0" * 64), tmp_path / "bad")
    assert "secret" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["good"]


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/", "http://[fe80::1]/", "http://10.0.0.1/", "http://localhost/", "http://[::1]/"]
)
def test_no_redirect_leads_from_the_web_into_the_house(target: str) -> None:
    with pytest.raises(DownloadError, match="leads to the private address"):
        asyncio.run(check_target(httpx.URL("https://example.com/text"), httpx.URL(target)))


def test_a_private_host_can_be_allowed_by_name() -> None:
    first, inside = httpx.URL("https://example.com/text"), httpx.URL("http://10.0.0.1/text")
    asyncio.run(check_target(first, inside, ["10.0.0.1"]))
    with pytest.raises(DownloadError, match="private_hosts="):
        asyncio.run(check_target(first, inside, ["10.0.0.2"]))


@pytest.mark.parametrize("host", ["2852039166", "0xA9FEA9FE", "169.254.43518", "127.1", "localhost."])
def test_no_other_spelling_leads_there_either(host: str) -> None:
    with pytest.raises(DownloadError, match="leads to the private address"):
        asyncio.run(check_target(httpx.URL("https://example.com/text"), httpx.URL(f"http://{host}/")))


@pytest.mark.parametrize("path", ["dripping_head", "always_soon"])
def test_a_head_that_never_ends_is_bounded(server: str, path: str, tmp_path: Path) -> None:
    """In a thread, for it may not come back; the server has the test's end for its own."""
    found: list[BaseException] = []

    def fetch() -> None:
        try:
            download(
                f"{server}/{path}",
                tmp_path / "text",
                max_bytes=1000,
                sha256=None,
                timeout_seconds=TIMEOUT_SECONDS,
                deadline_seconds=TIMEOUT_SECONDS,
            )
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(3 * TIMEOUT_SECONDS)
    assert isinstance(found[0], DownloadError)


def test_a_redirect_to_no_address_is_an_error_of_the_download(fetch: Callable[..., str]) -> None:
    with pytest.raises(DownloadError):
        fetch("moved_with_a_mistake")


@pytest.mark.parametrize("source", ["http://[x", "https://[::1/text", "ftp://[x"])
def test_an_address_that_is_none_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        corpus.read_source(CorpusConfig(source=source), tmp_path / "text")


@pytest.mark.parametrize("address", ["http://", "http://user:secret@", "http://127.0.0.1:port/"])
def test_an_address_that_leads_nowhere_is_not_tried_again(address: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        download(address, tmp_path / "text", max_bytes=1, sha256=None)
    assert not caught.value.transient


@pytest.mark.parametrize("password", ["sec/ret", "sec?ret", "sec#ret"])
def test_a_password_is_hidden_even_if_it_is_not_escaped(password: str) -> None:
    assert "sec" not in public_address(f"http://user:{password}@host/text")
