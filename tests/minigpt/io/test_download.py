"""Downloads from a real server on the loopback interface that misbehaves in every way that it can."""

import asyncio
import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from minigpt.data.config import CorpusConfig
from minigpt.data.sources import check_text, read_source
from minigpt.errors import InputError
from minigpt.io.download import DownloadError, check_target, download, public_address
from tests.minigpt.misbehaving import DEADLINE_SECONDS, DIGEST, TEXT, TIMEOUT_SECONDS, Misbehaving


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
        ("endless", "more than corpus.max_bytes", False),
        ("huge", "more than corpus.max_bytes", False),
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
    with pytest.raises(DownloadError, match=rf"sha256 [0-9a-f]{{64}}, but {first} is pinned"):
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
    with pytest.raises(DownloadError, match=rf"more than corpus\.max_bytes {max_bytes}; raise it"):
        fetch(path, max_bytes=max_bytes)
    assert not list(tmp_path.iterdir())


def test_an_empty_body_is_a_text_of_no_bytes(fetch: Callable[..., str], tmp_path: Path) -> None:
    """That it is none is said by the corpus."""
    assert fetch("nothing") == hashlib.sha256().hexdigest()
    with pytest.raises(InputError, match="is empty"):
        check_text(io.BytesIO((tmp_path / "text").read_bytes()), "test")


@pytest.mark.parametrize(("path", "words"), [("missing", "status 404"), ("good", "is pinned")])
def test_a_corpus_is_fetched_with_the_same_care(server: str, path: str, words: str, tmp_path: Path) -> None:
    address = f"{server}/{path}"
    assert read_source(CorpusConfig(source=f"{server}/good", sha256=DIGEST), tmp_path / "good").sha256 == DIGEST
    with pytest.raises(InputError, match=words) as caught:
        read_source(CorpusConfig(source=address, sha256="0" * 64), tmp_path / "bad")
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
        read_source(CorpusConfig(source=source), tmp_path / "text")


@pytest.mark.parametrize("address", ["http://", "http://user:secret@", "http://127.0.0.1:port/"])
def test_an_address_that_leads_nowhere_is_not_tried_again(address: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        download(address, tmp_path / "text", max_bytes=1, sha256=None)
    assert not caught.value.transient


@pytest.mark.parametrize("password", ["sec/ret", "sec?ret", "sec#ret"])
def test_a_password_is_hidden_even_if_it_is_not_escaped(password: str) -> None:
    assert "sec" not in public_address(f"http://user:{password}@host/text")
