"""Texts of several files, and packed ones: which file is wrong, what was left out, and what is unpacked."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt.data import files as files_module
from minigpt.data.config import CorpusConfig
from minigpt.data.files import SourceFiles, log_files, unpack_if_gzip
from minigpt.data.sources import check_text, oddities, read_source
from minigpt.errors import InputError
from minigpt.io import text as text_module
from minigpt.io.store import sha256_of_file


def brought(source: Path, copy: Path, max_bytes: int = 10**6) -> SourceFiles:
    files = read_source(CorpusConfig(source=str(source), max_bytes=max_bytes), copy).files
    assert files is not None
    return files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "texts" / "sub").mkdir(parents=True)
    return tmp_path / "texts"


@pytest.mark.parametrize(
    ("encoding", "words"), [("latin-1", r"byte 5 on \(invalid byte 0xfc"), ("utf-16", "it looks like UTF-16")]
)
def test_the_file_that_is_no_text_is_named_with_its_own_byte(
    encoding: str, words: str, folder: Path, tmp_path: Path
) -> None:
    (folder / "a.txt").write_text("länger als eine Zeile", "utf-8")
    (folder / "b.txt").write_bytes("viel für uns".encode(encoding))
    (folder / "c.txt").write_text("Ende")
    files = brought(folder, tmp_path / "copy")
    with (
        (tmp_path / "copy").open("rb") as text,
        pytest.raises(InputError, match=rf"{folder}/b\.txt is not UTF-8") as error,
    ):
        check_text(text, str(folder), files)
    error.match(words.replace("byte 5", "byte 6") if encoding == "latin-1" else words)


def test_what_is_read_and_what_is_left_out_is_listed(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("one.txt", "two.text", "three.TXT", "sub/four.txt", ".hidden"):
        (folder / name).write_text(name)
    facts = brought(folder, tmp_path / "copy").facts()
    assert facts == {
        "read": {"one.txt": 7},
        "left_out": {".hidden": 7, "three.TXT": 9, "two.text": 8, "sub/four.txt": 12},
    }
    log_files("texts", brought(folder, tmp_path / "copy"))
    [record] = [record for record in caplog.records if "left out" in record.message]
    assert record.levelname == "WARNING"
    assert (
        "texts: 1 file is read (7 bytes); only .txt files at the top of the folder are read, so these are left out"
        in record.message
    )
    assert "three.TXT (9 bytes), two.text (8 bytes), sub/four.txt (12 bytes)" in record.message


def test_a_long_list_is_cut(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "LISTED_FILES", 7)
    (folder / "one.txt").write_text("one")
    for number in range(9):
        (folder / f"{number}.md").write_text("")
    files = brought(folder, tmp_path / "copy")
    assert len(files.left_out) == 7
    assert files.sentence().endswith("4.md (0 bytes) and at least 2 more")


@pytest.mark.parametrize("block_bytes", [3, 4, 1000])
def test_windows_line_ends_are_found_anywhere(
    block_bytes: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_module, "BLOCK_BYTES", block_bytes)
    (folder / "a.txt").write_bytes(b"of unix\n" * 9)
    (folder / "b.txt").write_bytes(b"\xef\xbb\xbfof\nwindows\r\n")
    files = brought(folder, tmp_path / "copy")
    with (tmp_path / "copy").open("rb") as text:
        assert list(oddities(text, files)) == [
            "begins with a byte order mark in b.txt",
            "has Windows line endings, first in b.txt",
        ]


TEXT = b"A text.\n" * 1000


def in_zip(data: bytes) -> bytes:
    with zipfile.ZipFile(packed := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text.txt", data)
    return packed.getvalue()


@pytest.mark.parametrize(("kind", "pack"), [("zip", in_zip), ("xz", lzma.compress), ("bzip2", bz2.compress)])
def test_what_is_packed_otherwise_is_refused_as_such(kind: str, pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(pack(TEXT))
    with (
        (tmp_path / "packed").open("rb") as text,
        pytest.raises(InputError, match=rf"not UTF-8 from byte \d+ on \(it is a {kind} file\); unpack it"),
    ):
        check_text(text, "x")


def test_gzip_is_unpacked_alone_in_a_folder_and_from_the_network(folder: Path, tmp_path: Path) -> None:
    (folder / "a.txt").write_bytes(gzip.compress(TEXT[:4000]) + gzip.compress(TEXT[4000:-1]))
    (folder / "b.txt").write_bytes(b"last")
    brought(folder / "a.txt", tmp_path / "alone")
    assert (tmp_path / "alone").read_bytes() == TEXT[:-1]
    files = brought(folder, tmp_path / "together")
    assert (tmp_path / "together").read_bytes() == TEXT + b"last\n"
    assert files.at(len(TEXT)) == ("b.txt", 0)
    (tmp_path / "fetched").write_bytes((folder / "a.txt").read_bytes())
    unpack_if_gzip(tmp_path / "fetched", "https://host/x", 10**6)
    assert sha256_of_file(tmp_path / "fetched") == sha256_of_file(tmp_path / "alone")


@pytest.mark.parametrize(
    ("change", "max_bytes", "words"),
    [
        (lambda packed: packed[:-9], 10**6, "is a damaged gzip file"),
        (lambda packed: packed[:-8] + bytes(8), 10**6, "is a damaged gzip file"),
        (lambda packed: packed, 7999, "unpacked, has at least 8000 bytes, more than corpus.max_bytes 7999"),
    ],
)
def test_gzip_that_is_damaged_or_too_long_is_refused(
    change: Callable[[bytes], bytes], max_bytes: int, words: str, tmp_path: Path
) -> None:
    (tmp_path / "text.gz").write_bytes(change(gzip.compress(TEXT)))
    with pytest.raises(InputError, match=words):
        brought(tmp_path / "text.gz", tmp_path / "copy", max_bytes)
    assert not (tmp_path / "copy").exists()


def test_a_tar_that_gzip_packed_is_no_text(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.add(__file__, "text.txt")
    brought(tmp_path / "x.tar.gz", tmp_path / "copy")
    with (
        (tmp_path / "copy").open("rb") as text,
        pytest.raises(InputError, match="is a tar archive; unpack it"),
    ):
        check_text(text, "x")
