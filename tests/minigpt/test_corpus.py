"""Texts: any bytes are a text, kept as they are, or refused with the place where they are none."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt import corpus
from minigpt.corpus import CorpusConfig
from minigpt.errors import InputError


@pytest.mark.parametrize("data", [b"x", b"a\r\nb", b"a\0b", b"\xef\xbb\xbfa", b"a<|endoftext|>b", "e\u0301".encode()])
def test_text_is_kept_as_it_is(data: bytes) -> None:
    assert corpus.check_text(data, "test").encode() == data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"ab\xffcd", "not UTF-8 from byte 2 on"),
        ("ab".encode("utf-16"), "begins like UTF-16"),
        ("ab".encode("utf-32"), "begins like UTF-32"),
        (b"ok\xed\xa0\x80", "from byte 2 on"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        corpus.check_text(data, "test")


@given(st.binary())
def test_any_bytes_are_text_or_refused(data: bytes) -> None:
    try:
        assert corpus.check_text(data, "test").encode() == data
    except InputError as error:
        assert "the corpus test" in str(error)


def test_pythons_topics_are_a_text(tmp_path: Path) -> None:
    digest = corpus.read_source(CorpusConfig(source="python-topics"), tmp_path / "text")
    assert hashlib.sha256((tmp_path / "text").read_bytes()).hexdigest() == digest
    assert "The Python" in corpus.check_text((tmp_path / "text").read_bytes(), "topics")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("missing.txt", "is not there"),
        (".", "is a folder"),
        ("ftp://user:secret@host/x", "ftp://host/x is neither http nor https"),
        ("a\0b", "is not there"),
    ],
)
def test_a_source_that_is_none_is_refused(source: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        corpus.read_source(CorpusConfig(source=source), tmp_path / "text")
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_digest_or_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"abc")
    with pytest.raises(InputError, match=r"corpus\.sha256=null"):
        corpus.read_source(CorpusConfig(source=str(path), sha256="0" * 64), tmp_path / "copy")
    with pytest.raises(InputError, match=r"more than corpus\.max_bytes 2"):
        corpus.read_source(CorpusConfig(source=str(path), max_bytes=2), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
