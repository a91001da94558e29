"""How much of a text stands in another, word for word: who has read it there shows memory and not skill.

White space is left aside, for line ends and breaks differ where the words do not; what remains is compared in runs of
48 bytes, which GPT-4's authors did with 50 characters.
"""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from minigpt.text import blocks, size_bytes

RUN_BYTES = 48
# Of a longer text about so many runs stand for all.
SAMPLED_RUNS = 2**20

Digests = NDArray[np.uint64]

# Any odd number of 64 bits without a pattern.
BASE = 0x9E3779B97F4A7C15


def _digests(letters: NDArray[np.uint8]) -> Digests:
    """A number for each run of RUN_BYTES: a polynomial modulo 2^64, by doubling the length that it covers."""
    sums, power, length = letters.astype(np.uint64) + np.uint64(1), BASE, 1
    while length < 16:
        sums, power, length = sums[:-length] * np.uint64(power) + sums[length:], power * power % 2**64, 2 * length
    double = sums[:-16] * np.uint64(power) + sums[16:]
    triple: Digests = double[:-16] * np.uint64(power) + sums[32:]
    return triple


def _runs(text: BinaryIO, end: int) -> Iterator[Digests]:
    """The numbers of every run before the byte `end`, in order, a block of the text at a time."""
    rest = np.empty(0, np.uint8)
    for block in blocks(text, 0, end):
        read = np.frombuffer(block, np.uint8)
        letters = np.concatenate([rest, read[read > ord(" ")]])
        if len(letters) >= RUN_BYTES:
            yield _digests(letters)
        rest = letters[-(RUN_BYTES - 1) :]


def share_of(text: BinaryIO, within: BinaryIO, end: int) -> float:
    """Which share of the text's runs stands before the byte `end` of the other; 0 for a text without a whole run."""
    size = size_bytes(text)
    step = -(-size // SAMPLED_RUNS)
    sampled = [digests[::step].copy() for digests in _runs(text, size)]
    if not sampled:
        return 0.0
    wanted, counts = np.unique(np.concatenate(sampled), return_counts=True)
    found = np.zeros(len(wanted), bool)
    for digests in _runs(within, end):
        places = np.searchsorted(wanted, digests).clip(max=len(wanted) - 1)
        found[places[wanted[places] == digests]] = True
    return float(counts[found].sum() / counts.sum())
