"""The local files of a corpus: choose them, report those that are left out, and join them into one text."""

import gzip
import logging
import os
import shutil
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from minigpt.errors import InputError
from minigpt.io.text import BLOCK_BYTES

log = logging.getLogger(__name__)

# A file that was modified this recently may still be incomplete.
FRESH_SECONDS = 2.0
GZIP = b"\x1f\x8b"
# Maximum number of left-out files that are recorded, and that are named in a log line.
LISTED_FILES, NAMED_FILES = 1000, 5


@dataclass(frozen=True)
class SourceFile:
    """A file that was read, and the byte of the joined text at which it begins."""

    name: str
    size_bytes: int
    begins_byte: int


@dataclass(frozen=True)
class SourceFiles:
    """The files that were read, and the files of a folder and its sub-folders that were left out."""

    read: tuple[SourceFile, ...]
    left_out: tuple[tuple[str, int], ...] = ()
    """(name, size in bytes) of at most LISTED_FILES files."""

    def at(self, byte: int) -> tuple[str, int] | None:
        """Map a byte of the joined text to (file name, byte in that file); None if there is only one file."""
        if len(self.read) < 2:
            return None
        file = max((file for file in self.read if file.begins_byte <= byte), key=lambda file: file.begins_byte)
        return file.name, byte - file.begins_byte

    def facts(self) -> dict[str, dict[str, int]]:
        """Sizes in bytes by file name, for the run's record."""
        return {"read": {file.name: file.size_bytes for file in self.read}, "left_out": dict(self.left_out)}

    def sentence(self) -> str:
        """Summarize in one sentence the files that were read and left out."""
        said = f"{_counted(len(self.read))} read ({sum(file.size_bytes for file in self.read):,} bytes)"
        if not self.left_out:
            return said
        named = ", ".join(f"{name} ({size:,} bytes)" for name, size in self.left_out[:NAMED_FILES])
        more = len(self.left_out) - NAMED_FILES
        return f"{said}; only .txt files at the top of the folder are read, so these are left out: {named}" + (
            f" and {'at least ' if len(self.left_out) == LISTED_FILES else ''}{more:,} more" if more > 0 else ""
        )


def log_files(source: str, files: SourceFiles | None) -> None:
    """Log one line about the files, as a warning if any is left out, since the user may have wanted it."""
    if files is not None:
        log.log(logging.WARNING if files.left_out else logging.INFO, "corpus %s: %s", source, files.sentence())


def _counted(files: int) -> str:
    return "1 file is" if files == 1 else f"{files:,} files are"


def left_out_of(folder: Path, read: Sequence[Path]) -> tuple[tuple[str, int], ...]:
    """(name, size in bytes) of the files below `folder` that are not in `read`; hidden folders are skipped."""
    found: list[tuple[str, int]] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(place, name) for name in sorted(names)):
            if path not in read and path.is_file():
                found.append((path.relative_to(folder).as_posix(), path.stat().st_size))
        if len(found) >= LISTED_FILES:
            break
    return tuple(found[:LISTED_FILES])


def copy_files(paths: Sequence[Path], destination: Path, max_bytes: int, *, pinned: bool) -> tuple[SourceFile, ...]:
    """Join the files into `destination`, adding a line feed where one of several files ends without it.

    Raise InputError if a file changes while it is read, is a damaged gzip file, or exceeds `max_bytes`.
    """
    read = []
    try:
        with destination.open("wb+") as text:
            for path in paths:
                before = path.stat()
                read.append(SourceFile(path.name, before.st_size, text.tell()))
                _append(path, text, max_bytes)
                if len(paths) > 1 and _ends_within_a_line(text, read[-1].begins_byte):
                    text.write(b"\n")
                _check_unchanged(path, before, pinned)
    except InputError:
        destination.unlink()
        raise
    return tuple(read)


def _append(path: Path, text: BinaryIO, max_bytes: int) -> None:
    with path.open("rb") as file:
        packed = file.read(len(GZIP)) == GZIP
        file.seek(0)
        if not packed:
            shutil.copyfileobj(file, text)
            return
        for block in _unpacked(file, str(path)):
            text.write(block)
            check_size(text.tell(), f"{path}, unpacked,", max_bytes, at_least=True)


def unpack_if_gzip(text: Path, source: str, max_bytes: int) -> None:
    """Replace a gzip file by its contents; leave any other file unchanged."""
    with text.open("rb") as file:
        if file.read(len(GZIP)) != GZIP:
            return
        file.seek(0)
        with text.with_name(f"{text.name}.unpacked").open("wb") as unpacked:
            for block in _unpacked(file, source):
                unpacked.write(block)
                check_size(unpacked.tell(), f"{source}, unpacked,", max_bytes, at_least=True)
    text.with_name(f"{text.name}.unpacked").replace(text)


def _unpacked(file: BinaryIO, source: str) -> Iterator[bytes]:
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            while block := unpacked.read(BLOCK_BYTES):
                yield block
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"the corpus {source} is a damaged gzip file ({error}); download or copy it again") from error


def check_size(size_bytes: int, source: str, max_bytes: int, *, at_least: bool = False) -> None:
    if size_bytes > max_bytes:
        count = f"at least {size_bytes}" if at_least else f"{size_bytes}"
        raise InputError(
            f"the corpus {source} has {count} bytes, more than corpus.max_bytes {max_bytes}; raise that limit"
        )


def _ends_within_a_line(text: BinaryIO, start: int) -> bool:
    if text.tell() == start:
        return False
    text.seek(-1, os.SEEK_END)
    return text.read() != b"\n"


def _check_unchanged(path: Path, before: os.stat_result, pinned: bool) -> None:
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise InputError(
            f"the corpus {path} changed while it was read; try again when it is complete, or write it "
            "under another name and rename it"
        )
    if 0 <= (seconds := time.time() - after.st_mtime) < FRESH_SECONDS and not pinned:
        log.warning(
            "the corpus %s was modified %.1f s ago and may be incomplete (to be safe, write a file under another name "
            "and rename it when it is complete)",
            path,
            seconds,
        )
