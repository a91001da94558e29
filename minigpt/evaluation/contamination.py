"""How much of a text stands in another, word for word: who has read it there shows memory and not skill.

White space is left aside, for line ends and breaks differ where the words do not; what remains is compared in runs of
48 bytes, which GPT-4's authors did with 50 characters.
"""

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from minigpt.io.text import blocks, size_bytes

SHINGLE_BYTES = 48
# Of a longer text about so many runs stand for all.
SAMPLED_SHINGLES = 2**20
# So many bits of a number tell at once that most others are not among those that are looked for.
BEGINNING_BITS = 24
# Of a training text so many tokens are digested at a time.
DIGESTED_TOKENS = 2**20

Digests = NDArray[np.uint64]

# Any odd number of 64 bits without a pattern.
BASE = 0x9E3779B97F4A7C15


def _digests(values: NDArray[np.integer[Any]], length: int) -> Digests:
    """A number for each run of so many values: a polynomial modulo 2^64, put together of lengths that double."""
    sums, power, covered = values.astype(np.uint64) + np.uint64(1), BASE, 1
    whole, done = sums[:0], 0
    while True:
        if length & covered:
            whole = whole[: len(sums) - done] * np.uint64(power) + sums[done:] if done else sums
            done += covered
        if done == length:
            return whole
        sums = sums[:-covered] * np.uint64(power) + sums[covered:]
        power, covered = power * power % 2**64, 2 * covered


def _runs(text: BinaryIO, end: int) -> Iterator[Digests]:
    """The numbers of every run before the byte `end`, in order, a block of the text at a time."""
    rest = np.empty(0, np.uint8)
    for block in blocks(text, 0, end):
        read = np.frombuffer(block, np.uint8)
        letters = np.concatenate([rest, read[read > ord(" ")]])
        if len(letters) >= SHINGLE_BYTES:
            yield _digests(letters, SHINGLE_BYTES)
        rest = letters[-(SHINGLE_BYTES - 1) :]


def contained_fraction(text: BinaryIO, within: BinaryIO, end: int) -> float:
    """Which share of the text's runs stands before the byte `end` of the other; 0 for a text without a whole run."""
    size = size_bytes(text)
    step = -(-size // SAMPLED_SHINGLES)
    sampled = [digests[::step].copy() for digests in _runs(text, size)]
    if not sampled:
        return 0.0
    wanted, counts = np.unique(np.concatenate(sampled), return_counts=True)
    return float(counts[_among(wanted, _runs(within, end))].sum() / counts.sum())


def _among(wanted: Digests, runs: Iterable[Digests]) -> NDArray[np.bool_]:
    """Which of the sorted numbers are there."""
    found, beginnings = np.zeros(len(wanted), bool), np.zeros(2**BEGINNING_BITS, bool)
    rest_bits = np.uint64(64 - BEGINNING_BITS)
    beginnings[wanted >> rest_bits] = True
    for digests in runs:
        likely = digests[beginnings[digests >> rest_bits]]
        places = np.searchsorted(wanted, likely).clip(max=len(wanted) - 1)
        found[places[wanted[places] == likely]] = True
    return found


def passages_with_copy_fraction(
    text: NDArray[np.uint16], within: NDArray[np.uint16], passage_tokens: int, run_tokens: int, least_kinds: int
) -> float:
    """Which share of the text's passages of so many tokens has a run that stands in the other, of so many at least.

    Of a run so many tokens are not the same. A text that is shorter than a passage is one.
    """
    if len(text) < run_tokens:
        return 0.0
    ends = range(0, len(within) - run_tokens + 1, DIGESTED_TOKENS)
    blocks_within = (within[start : start + DIGESTED_TOKENS + run_tokens - 1] for start in ends)
    wanted, places = np.unique(_digests(text, run_tokens), return_inverse=True)
    copied = _among(wanted, (_digests(block, run_tokens) for block in blocks_within))[places]
    found = copied.nonzero()[0]
    runs = np.sort(np.lib.stride_tricks.sliding_window_view(text, run_tokens)[found])
    copied[found] = (np.diff(runs) != 0).sum(1) + 1 >= least_kinds
    starts = min(len(copied), passage_tokens - run_tokens + 1)  # of a run inside of a passage
    before = np.concatenate([[0], copied.cumsum()])
    return float((before[starts:] > before[:-starts]).mean())
