"""The boundary between the training text and the validation text."""

from typing import BinaryIO

from minigpt.data.config import SplitConfig
from minigpt.errors import InputError
from minigpt.io.text import blocks, characters, size_bytes


def split_byte(text: BinaryIO, config: SplitConfig) -> int:
    """The byte at which the validation text begins, which depends on the text and the config only.

    Raise InputError if one side would be empty.
    """
    size = size_bytes(text)
    count = sum(map(len, characters(text, 0, size)))
    cut = int(count * (1.0 - config.validation_fraction))
    if config.boundary == "character":
        place = _byte_of_character(text, cut)
    else:
        place = _line_end(text, _byte_of_character(text, max(cut - 1, 0)))
    if not 0 < place < size:
        reason = " (no line ends between the cut and the end of the text)" if config.boundary == "line" else ""
        raise InputError(
            f"validation_fraction {config.validation_fraction:g} leaves one side of {count:,} characters empty"
            f"{reason}; use a longer corpus, another fraction, or boundary: character"
        )
    return place


def _byte_of_character(text: BinaryIO, index: int) -> int:
    """The byte at which character `index` (from 0) begins."""
    place = 0
    for block in characters(text, 0, size_bytes(text)):
        place += len(block[:index].encode())
        if index <= len(block):
            break
        index -= len(block)
    return place


def _line_end(text: BinaryIO, start: int) -> int:
    """The byte after the line feed of the line that contains byte `start`, or the end of the text."""
    size = size_bytes(text)
    for block in blocks(text, start, size):
        if (line_feed := block.find(b"\n")) >= 0:
            return start + line_feed + 1
        start += len(block)
    return size
