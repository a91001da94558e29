"""Texts: any bytes are a text, kept as they are, or refused with the place where they are none."""

import hashlib
import io
import os
import time
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.data.config import CorpusConfig
from minigpt.data.sources import PYTHON_TOPICS, check_text, is_missing, oddities, read_source
from minigpt.errors import InputError
from minigpt.io import text
from minigpt.io.text import blocks, characters


@pytest.mark.parametrize("data", [b"x", b"a\r\nb", b"a\0b", b"\xef\xbb\xbfa", b"a<|endoftext|>b", "e\u0301".encode()])
def test_text_is_kept_as_it_is(data: bytes) -> None:
    file = io.BytesIO(data)
    check_text(file, "test")
    assert "".join(characters(file, 0, len(data))) == data.decode()
    assert b"".join(blocks(file, 1, len(data))) == data[1:]


def test_a_text_that_became_shorter_is_no_endless_loop() -> None:
    with pytest.raises(EOFError, match="ends at byte 3"):
        list(blocks(io.BytesIO(b"abc"), 0, 4))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"ab\xffcd", r"not UTF-8 from byte 2 on \(invalid byte 0xff\)"),
        (b"ab\xe2\x82", r"from byte 2 on \(invalid byte 0xe2\)"),
        ("ab".encode("utf-16"), "looks like UTF-16"),
        ("ab".encode("utf-32"), "looks like UTF-32"),
        (b"ok\xed\xa0\x80", "from byte 2 on"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_text(io.BytesIO(data), "test")


# Whole characters of one to four bytes, and beginnings, ends and impossible ones.
PARTS = st.sampled_from(
    [b"a", "é".encode(), "漢".encode(), "🙂".encode(), b"\xf0", b"\x9f", b"\xe2\x82", b"\xed\xa0", b"\xff"]
)


@given(st.binary(min_size=1) | st.lists(PARTS, min_size=1).map(b"".join), st.integers(1, 5))
def test_any_bytes_are_text_or_refused_at_the_first_wrong_byte(data: bytes, block_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "BLOCK_BYTES", block_bytes)
        try:
            data.decode()
        except UnicodeDecodeError as error:
            with pytest.raises(InputError, match=f"the corpus test is not UTF-8 from byte {error.start} on"):
                check_text(io.BytesIO(data), "test")
        else:
            check_text(io.BytesIO(data), "test")


def test_pythons_topics_are_a_text(tmp_path: Path) -> None:
    digest = read_source(CorpusConfig(source="python-topics"), tmp_path / "text").sha256
    assert hashlib.sha256((tmp_path / "text").read_bytes()).hexdigest() == digest
    with (tmp_path / "text").open("rb") as file:
        check_text(file, "topics")
    assert "The Python" in (tmp_path / "text").read_text("utf-8")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("missing.txt", "does not exist"),
        (".", "is a folder"),
        ("ftp://user:secret@host/x", "ftp://host/x is not http or https"),
        ("a\0b", "does not exist"),
    ],
)
def test_a_source_that_is_none_is_refused(source: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        read_source(CorpusConfig(source=source), tmp_path / "text")
    assert not list(tmp_path.iterdir())


def test_an_address_without_its_beginning_is_refused_and_not_repeated(tmp_path: Path) -> None:
    for password in ("hunter2", "hunter2" * 50):
        with pytest.raises(InputError, match=r"has no scheme; put https:// before it") as error:
            read_source(CorpusConfig(source=f"me:{password}@host/x.txt"), tmp_path / "text")
        assert "hunter2" not in str(error.value)


def test_a_file_of_another_digest_or_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"abc")
    with pytest.raises(InputError, match=r"corpus\.sha256=null"):
        read_source(CorpusConfig(source=str(path), sha256="0" * 64), tmp_path / "copy")
    with pytest.raises(InputError, match=r"more than corpus\.max_bytes 2"):
        read_source(CorpusConfig(source=str(path), max_bytes=2), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(("source", "words"), [("text.txt", "the config pins"), (PYTHON_TOPICS, "the config pins")])
def test_a_text_that_is_not_the_pinned_one_is_not_kept(
    source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("another text")
    with pytest.raises(InputError, match=words):
        read_source(CorpusConfig(source=source, sha256="0" * 64), tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


JSON_LINES = "is JSON Lines, so the model also learns braces and field names (extract the text first)"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"plain\ntext\n", []),
        (b"", []),
        (b"\xef\xbb\xbftext\r\nlines", ["begins with a byte order mark", "has Windows line endings"]),
        (b"lines\r\nof text \xef\xbb\xbf", ["has Windows line endings"]),
        (b'{"text": "a"}\n\n{"text": "b", "n": 1}\n', [JSON_LINES]),
        (b'{}\n{"cut": ', []),
        (b'{"text": "a"}\nno\n', []),
        (b"1\n2\n3\n", []),
        (b'{"text": "one"}\n{"text": "two"}\n{"te', [JSON_LINES]),
    ],
)
def test_what_no_model_is_meant_to_learn_is_told(data: bytes, said: list[str]) -> None:
    assert list(oddities(io.BytesIO(data))) == said


def test_a_folders_texts_follow_each_other_by_name(tmp_path: Path) -> None:
    texts = {
        "2026-02.txt": b"second",
        "2026-01.txt": b"first\n",
        "2026-03.txt": b"",
        "2026-10.txt": b"last",
        "x.md": b"no",
    }
    for name, data in texts.items():
        (tmp_path / name).write_bytes(data)
    read_source(CorpusConfig(source=str(tmp_path)), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"first\nsecond\nlast\n"
    with pytest.raises(InputError, match=r"more than corpus\.max_bytes 15"):
        read_source(CorpusConfig(source=str(tmp_path), max_bytes=15), tmp_path / "none")
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(InputError, match=r"a\.txt is not a file; give a text file"):
        read_source(CorpusConfig(source=str(tmp_path)), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_text_that_is_written_to_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "grows.txt"
    path.write_bytes(b"a line\n" * 100)

    def copy_slowly(source: BinaryIO, target: BinaryIO) -> None:
        target.write(source.read())
        with path.open("ab") as file:
            file.write(b"one more\n")

    monkeypatch.setattr("shutil.copyfileobj", copy_slowly)
    with pytest.raises(InputError, match="changed while it was read; try again when it is complete"):
        read_source(CorpusConfig(source=str(path)), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(("age_seconds", "pinned", "told"), [(0, False, True), (0, True, False), (60, False, False)])
def test_a_text_that_was_just_written_may_not_be_whole(
    age_seconds: int, pinned: bool, told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"a line\n")
    os.utime(path, (time.time() - age_seconds,) * 2)
    digest = hashlib.sha256(b"a line\n").hexdigest() if pinned else None
    read_source(CorpusConfig(source=str(path), sha256=digest), tmp_path / "copy")
    assert ("may be incomplete" in caplog.text) == told


def test_a_file_that_is_not_there_is_missing_and_what_is_no_path_is_for_reading_to_say(tmp_path: Path) -> None:
    (tmp_path / "here.txt").touch()
    sources = {"here.txt": False, ".": False, "gone.txt": True, "gone/": True}
    assert {name: is_missing(str(tmp_path / name)) for name in sources} == sources
    for source in (
        "https://example.com/a.txt",
        "ftp://me:secret@host/a",
        "me:secret@host/a.txt",
        "~nobody-at-all/a.txt",
    ):
        assert not is_missing(source)
