"""How much of a text stands in another."""

import io
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt.evaluation import contamination
from minigpt.evaluation.contamination import SHINGLE_BYTES, contained_fraction, passages_with_copy_fraction
from minigpt.io import text


def share(one: bytes, other: bytes, end: int | None = None) -> float:
    return contained_fraction(io.BytesIO(one), io.BytesIO(other), len(other) if end is None else end)


def words(count: int, seed: int) -> str:
    numbers = np.random.default_rng(seed).integers(0, 26, (count, 5))
    return " ".join("".join(chr(97 + letter) for letter in row) for row in numbers)


def brute_force(one: bytes, other: bytes) -> float:
    def letters(data: bytes) -> bytes:
        return bytes(byte for byte in data if byte > 32)

    runs = [letters(one)[start : start + SHINGLE_BYTES] for start in range(len(letters(one)) - SHINGLE_BYTES + 1)]
    return sum(run in letters(other) for run in runs) / len(runs) if runs else 0.0


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"a" * 30, b"b\n" * 20, b"cd e" * 9, b"f" * 50]), max_size=8), st.integers(1, 400))
def test_it_is_the_share_of_all_runs(pieces: list[bytes], cut: int) -> None:
    one = b"".join(pieces)
    assert share(one, one[:cut]) == brute_force(one, one[:cut])
    assert share(one, b"".join(reversed(pieces))) == brute_force(one, b"".join(reversed(pieces)))


def test_other_line_ends_and_breaks_are_the_same_text() -> None:
    read = words(4000, 1)
    for shown in (textwrap.fill(read, 60), textwrap.fill(read, 30).replace("\n", "\r\n"), read.replace(" ", "  ")):
        assert share(shown.encode(), read.encode()) == 1.0
    assert share(words(4000, 2).encode(), read.encode()) == 0.0


def test_lines_that_were_copied_here_and_there_count() -> None:
    read = textwrap.wrap(words(4000, 1), 200)
    new = textwrap.wrap(words(4000, 2), 200)
    mixed = "\n".join(line for both in zip(read[::2], new[::2], strict=True) for line in both)
    assert 0.3 < share(mixed.encode(), "\n".join(read).encode()) < 0.5


def test_what_stands_behind_the_end_was_not_read() -> None:
    read, validated = words(1000, 1).encode(), words(1000, 2).encode()
    assert share(validated, read + validated, end=len(read)) == 0.0
    assert share(validated, read + validated) == 1.0


@pytest.mark.parametrize("block_bytes", [7, 100, 1000])
def test_blocks_leave_no_run_out(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", block_bytes)
    read = words(500, 1).encode()
    assert share(read, b"x" + read) == 1.0


def test_of_a_long_text_a_sample_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contamination, "SAMPLED_SHINGLES", 1000)
    one = words(5000, 1).encode()
    assert share(one, one[: len(one) // 4]) == pytest.approx(0.25, abs=0.02)
    assert share(one, one) == 1.0


TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=30)


@given(TOKENS, TOKENS, st.integers(1, 12), st.integers(1, 6), st.integers(1, 9), st.integers(1, 3))
def test_the_passages_with_a_copy_are_those_that_hold_one(
    text_tokens: list[int], within: list[int], passage: int, run: int, at_once: int, kinds: int
) -> None:
    passage = max(passage, run)
    whole = [text_tokens] if len(text_tokens) < passage else []
    passages = whole or [text_tokens[n : n + passage] for n in range(len(text_tokens) - passage + 1)]
    runs = {tuple(within[n : n + run]) for n in range(len(within) - run + 1)}
    runs = {copy for copy in runs if len(set(copy)) >= kinds}
    copied = sum(any(tuple(p[n : n + run]) in runs for n in range(len(p) - run + 1)) for p in passages)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contamination, "DIGESTED_TOKENS", at_once)
        found = passages_with_copy_fraction(
            np.array(text_tokens, np.uint16), np.array(within, np.uint16), passage, run, kinds
        )
    assert found == pytest.approx(copied / len(passages))
