"""The corpus of a run: read it from its source, and check that it is UTF-8 text."""

import codecs
import itertools
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import BinaryIO

from minigpt.data.config import CorpusConfig
from minigpt.data.files import SourceFile, SourceFiles, check_size, copy_files, left_out_of, unpack_if_gzip
from minigpt.errors import InputError
from minigpt.io.download import check_pinned, download, public_address
from minigpt.io.store import sha256_of_file
from minigpt.io.text import blocks, size_bytes

PYTHON_TOPICS = "python-topics"
# user:password@host: an address without its scheme rather than a path.
USER_FIRST = re.compile(r"[^/\s]+:[^/]*@")
# Magic numbers of archive formats that are refused; gzip files are unpacked.
PACKED = {
    b"PK\x03\x04": "zip",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "rar",
}
# The magic number in the header of a tar archive, and its place (POSIX.1, pax). A tar archive can be valid UTF-8.
TAR, TAR_BYTE = b"ustar", 257
MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


@dataclass(frozen=True)
class Corpus:
    """A checked text on disk; `source` contains no password."""

    path: Path
    sha256: str
    size_bytes: int
    source: str
    files: SourceFiles | None = None
    """The local files that were just read; None for a text from the cache or the network."""


@dataclass(frozen=True)
class ReadSource:
    """The digest of a text that was read, and the local files that it came from."""

    sha256: str
    files: SourceFiles | None


def python_topics() -> bytes:
    """The language reference of this Python: its topics joined in the order of their names."""
    return "\n\n".join(topics[name] for name in sorted(topics)).encode()


def read_source(config: CorpusConfig, destination: Path) -> ReadSource:
    """Copy or download the text to `destination` and unpack gzip.

    Raise InputError, and leave nothing at `destination`, if the source cannot be read or breaks a limit of `config`.
    """
    source, files = config.source, None
    if is_fetched(source):
        download(source, destination, max_bytes=config.max_bytes, sha256=None, private_hosts=config.private_hosts)
    elif source == PYTHON_TOPICS:
        destination.write_bytes(python_topics())
    else:
        files = _copy(source, destination, config)
    try:  # these check the copy, because the source may change meanwhile
        if is_fetched(source):
            unpack_if_gzip(destination, public_address(source), config.max_bytes)
        check_size(destination.stat().st_size, public_address(source), config.max_bytes)
        sha256 = sha256_of_file(destination)
        if is_fetched(source):
            check_pinned(public_address(source), sha256, config.sha256)
        check_digest(sha256, config.sha256, source)
    except InputError:
        destination.unlink()
        raise
    return ReadSource(sha256, files)


def _copy(source: str, destination: Path, config: CorpusConfig) -> SourceFiles:
    paths = _readable_files(source, config.max_bytes)
    read = copy_files(paths, destination, config.max_bytes, pinned=config.sha256 is not None)
    folder = Path(source).expanduser()
    return SourceFiles(read, left_out_of(folder, paths) if folder.is_dir() else ())


def is_fetched(source: str) -> bool:
    return source.lower().startswith(("http://", "https://"))


def is_missing(source: str) -> bool:
    """True if `source` is a path and nothing exists there; False for an address, and for an invalid path."""
    if "://" in source or USER_FIRST.match(source):
        return False
    with suppress(OSError, ValueError, RuntimeError):
        return not Path(source).expanduser().exists()
    return False


def check_scheme(source: str) -> None:
    """Raise InputError if `source` is an address that is not http(s)."""
    if "://" in source and not is_fetched(source):
        raise InputError(
            f"the corpus address {public_address(source)} is not http or https; give an http(s) address or a path"
        )


def check_digest(sha256: str, pinned: str | None, source: str) -> None:
    """Raise InputError if a digest is pinned and differs from `sha256`."""
    if pinned is not None and sha256 != pinned:
        raise InputError(
            f"the corpus {public_address(source)} has sha256 {sha256}, but the config pins {pinned}; "
            "give the pinned text, or accept this one with corpus.sha256=null"
        )


def _readable_files(source: str, max_bytes: int) -> list[Path]:
    """The file itself, or the .txt files of a folder in the order of their names."""
    check_scheme(source)
    path = Path(source)
    try:
        path = path.expanduser()
        files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
        if not files:
            raise InputError(
                f"the corpus {path} is a folder without .txt files; give a folder with .txt files, or a text file"
            )
        if missing := next((file for file in files if not file.is_file()), None):
            _check_beginning(source)
            raise InputError(
                f"the corpus {missing} {'is not a file' if missing.exists() else 'does not exist'}; give a text file"
            )
        size_bytes = sum(file.stat().st_size for file in files)
        for file in files:
            file.open("rb").close()
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~USER for an unknown user
        _check_beginning(source)
        raise InputError(f"the corpus {path} cannot be read ({error}); give a readable text file") from error
    check_size(size_bytes, str(path), max_bytes)  # before the copy
    return files


def _check_beginning(source: str) -> None:
    """Raise InputError, without repeating the source, if it looks like an address with a password."""
    if USER_FIRST.match(source):
        raise InputError("the corpus looks like an address with a user, but has no scheme; put https:// before it")


def oddities(text: BinaryIO, files: SourceFiles | None = None) -> Iterator[str]:
    """Describe features of a text that the user probably does not want the model to learn."""
    for file in files.read if files else (SourceFile("", 0, 0),):
        text.seek(file.begins_byte)
        if text.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
            yield "begins with a byte order mark" + (f" in {file.name}" if files and len(files.read) > 1 else "")
    if (place := _windows_line_end(text)) is not None:
        name = files.at(place) if files else None
        yield "has Windows line endings" + (f", first in {name[0]}" if name else "")
    if _is_json_lines(next(blocks(text, 0, size_bytes(text)), b"")):
        yield "is JSON Lines, so the model also learns braces and field names (extract the text first)"


def _is_json_lines(beginning: bytes) -> bool:
    """True if there are at least two complete lines and each of them is a JSON object."""
    lines = [line for line in beginning.split(b"\n")[:-1] if line.strip()]
    try:
        return len(lines) >= 2 and all(isinstance(json.loads(line), dict) for line in lines)
    except (ValueError, RecursionError):
        return False


def _windows_line_end(text: BinaryIO) -> int | None:
    """The byte of the first Windows line ending (CR LF), or None."""
    place, last = 0, b""
    for block in blocks(text, 0, size_bytes(text)):
        if (found := (last + block).find(b"\r\n")) >= 0:
            return place - len(last) + found
        place, last = place + len(block), block[-1:]
    return None


def check_text(text: BinaryIO, source: str, files: SourceFiles | None = None) -> None:
    """Raise InputError if the text is empty, a tar archive, or not UTF-8.

    The message gives the first invalid byte, and the file if there are several.
    """
    size = size_bytes(text)
    if size == 0:
        raise InputError(f"the corpus {source} is empty; give a text")
    text.seek(TAR_BYTE)
    if text.read(len(TAR)) == TAR and b"\0" in next(blocks(text, 0, TAR_BYTE)):
        raise InputError(f"the corpus {source} is a tar archive; unpack it and give its folder")
    decoder = codecs.getincrementaldecoder("utf-8")()
    decoded = 0  # bytes of complete characters
    for block in itertools.chain(blocks(text, 0, size), [b""]):
        try:
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise _not_text(source, decoded + error.start, error.object[error.start], text, files) from error
        decoded = text.tell() - len(decoder.getstate()[0])


def _not_text(source: str, place: int, byte: int, text: BinaryIO, files: SourceFiles | None) -> InputError:
    name, in_file = (files and files.at(place)) or ("", place)
    text.seek(place - in_file)
    beginning = text.read(max(map(len, {**MARKS, **PACKED})))
    named = str(Path(source, name)) if name else source
    guess, way_out = f"invalid byte 0x{byte:02x}", "convert it, for example with iconv"
    if mark := next((name for mark, name in MARKS.items() if beginning.startswith(mark)), None):
        guess = f"it looks like {mark}"
    elif packed := next((kind for start, kind in PACKED.items() if beginning.startswith(start)), None):
        guess, way_out = f"it is a {packed} file", "unpack it, or compress it with gzip instead"
    return InputError(f"the corpus {named} is not UTF-8 from byte {in_file} on ({guess}); {way_out}")
