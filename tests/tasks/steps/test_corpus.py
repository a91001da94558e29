"""Which text a run gets where its digest is pinned."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from minigpt.data.config import CorpusConfig
from minigpt.io.store import sha256_of_file
from tasks.steps.corpus import download_corpus
from tests.conftest import Workplace


def test_a_file_that_no_longer_holds_the_pinned_text_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The text is the pinned one all the same, from the cache, and so it is where the file is gone."""
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path / "home"))
    source = tmp_path / "text.txt"
    source.write_text("A text.")
    pinned = CorpusConfig(source=str(source), sha256=sha256_of_file(source))
    for _ in range(2):
        assert download_corpus.fn(pinned).path.read_text() == "A text."
    assert "does not hold" not in caplog.text
    source.write_text("Another text.")
    assert download_corpus.fn(pinned).path.read_text() == "A text."
    assert f"the corpus {source} does not hold the text that corpus.sha256 pins" in caplog.text
    caplog.clear()
    source.unlink()
    assert download_corpus.fn(pinned).path.read_text() == "A text."
    assert "does not hold" not in caplog.text


def test_a_fault_that_may_pass_is_told_and_tried_again(new_workplace: Callable[[], Workplace]) -> None:
    """What will not pass is not."""
    answers = iter([503, 404])

    class Failing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(next(answers))

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Failing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/text"
        done = new_workplace().run("run", "smoke", "--set", f"corpus.source={address}")
        server.shutdown()
    assert done.returncode == 2
    first, last = done.stderr.splitlines()
    assert first.endswith(f"retrying the corpus download: {address} returned HTTP status 503; try again later")
    assert last == f"minigpt: {address} returned HTTP status 404; give another address"
    assert next(answers, None) is None
