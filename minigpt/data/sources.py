"""The text that a run learns from: where it comes from, and that it is text."""

import codecs
import itertools
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import BinaryIO

from minigpt.data.config import CorpusConfig
from minigpt.errors import InputError
from minigpt.io.download import download, public_address
from minigpt.io.store import sha256_of_file
from minigpt.io.text import blocks, size_bytes

log = logging.getLogger(__name__)

PYTHON_TOPICS = "python-topics"
# user:password@host, which is no path that anyone has.
USER_FIRST = re.compile(r"[^/\s]+:[^/]*@")
# A file that was written to so shortly ago may not be whole.
FRESH_SECONDS = 2.0
MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


@dataclass(frozen=True)
class Corpus:
    """A checked text on the disk; its source without passwords."""

    path: Path
    sha256: str
    size_bytes: int
    source: str


def python_topics() -> bytes:
    """The language reference of this Python, topic after topic in the order of their names."""
    return "\n\n".join(topics[name] for name in sorted(topics)).encode()


def read_source(config: CorpusConfig, destination: Path) -> str:
    """Bring the text's bytes to `destination`; the result is their sha256. On an error nothing is left there."""
    source = config.source
    if is_fetched(source):
        return download(
            source,
            destination,
            max_bytes=config.max_bytes,
            sha256=config.sha256,
            private_hosts=config.private_hosts,
        )
    if source == PYTHON_TOPICS:
        destination.write_bytes(python_topics())
    else:
        _copy(_readable_files(source, config.max_bytes), destination, pinned=config.sha256 is not None)
    try:  # of the copy, for a file may be written to meanwhile
        check_size(destination.stat().st_size, source, config.max_bytes)
        check_digest(sha256 := sha256_of_file(destination), config.sha256, source)
    except InputError:
        destination.unlink()
        raise
    return sha256


def is_fetched(source: str) -> bool:
    return source.lower().startswith(("http://", "https://"))


def is_missing(source: str) -> bool:
    """Whether a file or folder is named that is not there by now; of what is no path reading it says so."""
    if "://" in source or USER_FIRST.match(source):
        return False
    with suppress(OSError, ValueError, RuntimeError):
        return not Path(source).expanduser().exists()
    return False


def check_scheme(source: str) -> None:
    """Refuse an address that no text is fetched from."""
    if "://" in source and not is_fetched(source):
        raise InputError(
            f"the corpus address {public_address(source)} is neither http nor https; give such an address or a path"
        )


def check_digest(sha256: str, pinned: str | None, source: str) -> None:
    if pinned is not None and sha256 != pinned:
        raise InputError(
            f"the corpus {public_address(source)} has sha256 {sha256}, and the config pins {pinned}; "
            "give the pinned text, or accept this one with corpus.sha256=null"
        )


def _readable_files(source: str, max_bytes: int) -> list[Path]:
    """The file, or a folder's .txt files in the order of their names."""
    check_scheme(source)
    path = Path(source)
    try:
        path = path.expanduser()
        files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
        if not files:
            raise InputError(
                f"the corpus {path} is a folder without .txt files; give one that has some, or a text file"
            )
        if missing := next((file for file in files if not file.is_file()), None):
            _check_beginning(source)
            raise InputError(
                f"the corpus {missing} is {'no file' if missing.exists() else 'not there'}; give a text file"
            )
        size_bytes = sum(file.stat().st_size for file in files)
        for file in files:
            file.open("rb").close()
    except (OSError, ValueError, RuntimeError) as error:  # the last of ~NOBODY
        _check_beginning(source)
        raise InputError(f"the corpus {path} cannot be read ({error}); give a readable text file") from error
    check_size(size_bytes, str(path), max_bytes)  # before it is copied
    return files


def _check_beginning(source: str) -> None:
    """Refuse what is no file and looks like an address with a password, without repeating it."""
    if USER_FIRST.match(source):
        raise InputError("the corpus has a user and an @ like an address, but no https:// before it; give that as well")


def _copy(files: Sequence[Path], destination: Path, *, pinned: bool) -> None:
    """One behind the other, of several each on lines of its own; one that is written to meanwhile is refused."""
    with destination.open("wb") as text:
        for path in files:
            before = path.stat()
            with path.open("rb") as file:
                shutil.copyfileobj(file, text)
                if len(files) > 1 and file.tell() and file.seek(-1, os.SEEK_END) >= 0 and file.read() != b"\n":
                    text.write(b"\n")
            after = path.stat()
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                destination.unlink()
                raise InputError(
                    f"the corpus {path} was written to while it was read; try again when it is whole, or write it "
                    "under another name and rename it"
                )
            if 0 <= (seconds := time.time() - after.st_mtime) < FRESH_SECONDS and not pinned:
                log.warning(
                    "the corpus %s was last written to %.1f s ago; unless that is over, this is a part of it (a file "
                    "that gets its name when it is whole is safe)",
                    path,
                    seconds,
                )


def check_size(size_bytes: int, source: str, max_bytes: int) -> None:
    if size_bytes > max_bytes:
        raise InputError(
            f"the corpus {source} has {size_bytes} bytes, more than corpus.max_bytes {max_bytes}; raise it"
        )


def oddities(text: BinaryIO) -> Iterator[str]:
    """What a text has that a model is hardly meant to learn, by its first block."""
    beginning = next(blocks(text, 0, size_bytes(text)), b"")
    if beginning.startswith(codecs.BOM_UTF8):
        yield "begins with a byte order mark"
    if b"\r\n" in beginning:
        yield "has Windows' line ends"


def check_text(text: BinaryIO, source: str) -> None:
    """Refuse what is empty or not UTF-8, with the first byte that is wrong."""
    size = size_bytes(text)
    if size == 0:
        raise InputError(f"the corpus {source} is empty; give a text")
    decoder = codecs.getincrementaldecoder("utf-8")()
    decoded = 0  # bytes, without a character that the next block finishes
    for block in itertools.chain(blocks(text, 0, size), [b""]):
        try:
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise _not_text(source, decoded + error.start, error.object[error.start], text) from error
        decoded = text.tell() - len(decoder.getstate()[0])


def _not_text(source: str, place: int, byte: int, text: BinaryIO) -> InputError:
    text.seek(0)
    beginning = text.read(max(map(len, MARKS)))
    mark = next((name for mark, name in MARKS.items() if beginning.startswith(mark)), None)
    guess = f"it begins like {mark}" if mark else f"byte 0x{byte:02x} is wrong there"
    return InputError(
        f"the corpus {source} is not UTF-8 from byte {place} on ({guess}); convert it, with iconv for example"
    )
