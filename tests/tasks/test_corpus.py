"""Which text a run gets where its digest is pinned."""

from pathlib import Path

import pytest

from minigpt.corpus import CorpusConfig
from minigpt.store import sha256_of_file
from tasks.corpus import download_corpus


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
