"""A text in a file, read in blocks, so that its length never decides how much memory it takes."""

import codecs
import os
from collections.abc import Iterator
from typing import BinaryIO

BLOCK_BYTES = 1 << 18


def size_bytes(text: BinaryIO) -> int:
    return text.seek(0, os.SEEK_END)


def blocks(text: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """The bytes from `start` to `end`, in order, at most BLOCK_BYTES at a time."""
    while start < end:
        text.seek(start)
        block = text.read(min(BLOCK_BYTES, end - start))
        if not block:
            raise EOFError(f"the text ends at byte {start} and was to be read to byte {end}")
        yield block
        start += len(block)


def characters(text: BinaryIO, start: int, end: int) -> Iterator[str]:
    """The same decoded, exactly as the bytes say: no byte order mark, line end or control character is changed."""
    return codecs.iterdecode(blocks(text, start, end), "utf-8")
