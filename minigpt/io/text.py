"""Read a text file in blocks, so that memory use does not depend on its length."""

import codecs
import os
from collections.abc import Iterator
from typing import BinaryIO

BLOCK_BYTES = 1 << 18


def size_bytes(text: BinaryIO) -> int:
    """The size of an open file; moves its position to the end."""
    return text.seek(0, os.SEEK_END)


def blocks(text: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from `start` to `end` in blocks of at most BLOCK_BYTES; EOFError if the file is shorter."""
    while start < end:
        text.seek(start)
        block = text.read(min(BLOCK_BYTES, end - start))
        if not block:
            raise EOFError(f"the text ends at byte {start}, before byte {end}")
        yield block
        start += len(block)


def characters(text: BinaryIO, start: int, end: int) -> Iterator[str]:
    """Yield the bytes from `start` to `end` decoded as UTF-8; byte order marks and line endings are kept."""
    return codecs.iterdecode(blocks(text, start, end), "utf-8")
