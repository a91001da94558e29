"""Contamination: the fraction of a text that occurs word for word in another, where a model may have memorized it.

White space is ignored, because line ends and line breaks differ between copies of a text. The rest is compared in
shingles of 48 consecutive bytes (the GPT-4 technical report compares 50 characters).
"""

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from minigpt.io.text import blocks, size_bytes

SHINGLE_BYTES = 48
# A text with more shingles is sampled down to about this many.
SAMPLED_SHINGLES = 2**20
# A table over this many leading bits of a digest rules out most digests before the binary search.
BEGINNING_BITS = 24
# Tokens of the training text that are digested at a time.
DIGESTED_TOKENS = 2**20

Digests = NDArray[np.uint64]

# The base of the polynomial hash: any odd 64-bit number without a pattern.
BASE = 0x9E3779B97F4A7C15


def _digests(values: NDArray[np.integer[Any]], length: int) -> Digests:
    """Hash every run of `length` consecutive values: a polynomial modulo 2^64, built up from runs of doubled length."""
    sums, power, covered = values.astype(np.uint64) + np.uint64(1), BASE, 1
    combined, done = sums[:0], 0
    while True:
        if length & covered:
            combined = combined[: len(sums) - done] * np.uint64(power) + sums[done:] if done else sums
            done += covered
        if done == length:
            return combined
        sums = sums[:-covered] * np.uint64(power) + sums[covered:]
        power, covered = power * power % 2**64, 2 * covered


def _shingles(text: BinaryIO, end: int) -> Iterator[Digests]:
    """Yield the digests of all shingles before the byte `end`, in order, for one block of the text at a time."""
    rest = np.empty(0, np.uint8)
    for block in blocks(text, 0, end):
        read = np.frombuffer(block, np.uint8)
        letters = np.concatenate([rest, read[read > ord(" ")]])
        if len(letters) >= SHINGLE_BYTES:
            yield _digests(letters, SHINGLE_BYTES)
        rest = letters[-(SHINGLE_BYTES - 1) :]


def contained_fraction(text: BinaryIO, within: BinaryIO, end: int) -> float:
    """Fraction of the shingles of `text` that occur in `within` before the byte `end`.

    The shingles of a long text are sampled. A text that is shorter than one shingle gives 0.
    """
    size = size_bytes(text)
    step = -(-size // SAMPLED_SHINGLES)
    sampled = [digests[::step].copy() for digests in _shingles(text, size)]
    if not sampled:
        return 0.0
    wanted, counts = np.unique(np.concatenate(sampled), return_counts=True)
    return float(counts[_among(wanted, _shingles(within, end))].sum() / counts.sum())


def _among(wanted: Digests, runs: Iterable[Digests]) -> NDArray[np.bool_]:
    """Mask of the sorted digests `wanted` that occur in `runs`."""
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
    """Fraction of the passages of `text` that contain a run of tokens copied from `within`.

    A passage is any `passage_tokens` consecutive tokens; a shorter text counts as one passage. A run is `run_tokens`
    consecutive tokens, of which at least `least_kinds` are distinct.
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
    starts = min(len(copied), passage_tokens - run_tokens + 1)  # places where a run can start in a passage
    before = np.concatenate([[0], copied.cumsum()])
    return float((before[starts:] > before[:-starts]).mean())
