"""Boundary and windows: nothing spans both sides, every token is predicted once, and order is a pure function."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigpt.data.config import SplitConfig
from minigpt.data.split import split_byte
from minigpt.data.tokenizer import train_bpe
from minigpt.data.tokens import TOKEN_DTYPE, Side, open_tokens
from minigpt.data.windows import Windows, batch_indices, cut_windows, epoch_order, epoch_shift, fitting_values
from minigpt.errors import InputError


def boundary(text: str, config: SplitConfig) -> int:
    """The boundary in characters."""
    data = text.encode()
    return len(data[: split_byte(io.BytesIO(data), config)].decode())


def by_definition(text: str, fraction: float, kind: str) -> int:
    """The same on the whole text at once; the ends of the text where there is none."""
    cut = int(len(text) * (1.0 - fraction))
    return cut if kind == "character" else text.find("\n", max(cut - 1, 0)) + 1


MULTIBYTE = st.text(st.sampled_from("ab\n\r\0é漢🙂\u0301\u2028"), max_size=40)


@given(st.text() | MULTIBYTE, st.floats(0.01, 0.99), st.sampled_from(["character", "line"]), st.integers(1, 9))
def test_the_boundary_is_the_same_in_blocks_of_any_size(text: str, fraction: float, kind: str, block: int) -> None:
    config = SplitConfig.model_validate({"validation_fraction": fraction, "boundary": kind})
    expected = by_definition(text, fraction, kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minigpt.io.text.BLOCK_BYTES", block)
        if 0 < expected < len(text):
            assert boundary(text, config) == expected
        else:
            with pytest.raises(InputError, match=f"one side of {len(text)} characters empty"):
                boundary(text, config)


@given(st.text(), st.floats(0.01, 0.99), st.sampled_from(["character", "line"]))
def test_the_boundary_leaves_two_sides_or_says_why(text: str, fraction: float, kind: str) -> None:
    config = SplitConfig.model_validate({"validation_fraction": fraction, "boundary": kind})
    try:
        cut = boundary(text, config)
    except InputError as error:
        assert "validation_fraction" in str(error)
        return
    assert 0 < cut < len(text)
    assert kind == "character" or text[cut - 1] == "\n"


@given(st.integers(0, 500), st.integers(1, 50))
def test_windows_predict_each_token_once(count: int, context_length: int) -> None:
    windows = Windows(np.arange(count, dtype=TOKEN_DTYPE), context_length, context_length)
    targets = [int(token) for _, y in windows.in_order(3) for token in y.flatten()]
    assert targets == list(range(1, 1 + windows.predicted_tokens))
    assert count - 1 - len(targets) < context_length


def test_inputs_and_targets_are_one_apart() -> None:
    windows = Windows(np.arange(100, dtype=TOKEN_DTYPE), 8, 4)
    inputs, targets = windows.batch(np.array([0, 3]))
    assert inputs.tolist() == [list(range(8)), list(range(12, 20))]
    assert (targets - inputs).unique().tolist() == [1]


def test_a_side_shorter_than_a_window_is_refused() -> None:
    tokens = np.zeros(181, TOKEN_DTYPE)
    with pytest.raises(InputError, match="context_length 256 exceeds the 180 validation tokens"):
        cut_windows(tokens, "val", 256, SplitConfig())


@given(st.integers(1, 5000), st.integers(1, 300), st.integers(1, 20))
def test_what_is_offered_for_a_short_text_fits(count: int, context_length: int, batch_size: int) -> None:
    if (fitting := fitting_values(count, context_length, batch_size)) is None:
        assert count < 3 * (batch_size + 1)
        return
    fraction, length = fitting
    validation = int(count * fraction)
    assert 1 <= length <= context_length
    assert len(Windows(np.zeros(validation, TOKEN_DTYPE), length, length)) >= 1
    assert len(Windows(np.zeros(count - validation, TOKEN_DTYPE), length, length)) >= batch_size


def test_validation_windows_never_overlap() -> None:
    tokens = np.zeros(100, TOKEN_DTYPE)
    config = SplitConfig(stride_tokens=2)
    assert cut_windows(tokens, "val", 10, config).stride_tokens == 10
    assert cut_windows(tokens, "train", 10, config).stride_tokens == 2


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**63 - 1), st.integers(0, 3))
def test_an_epoch_reads_no_window_twice(windows: int, batch_size: int, seed: int, epoch: int) -> None:
    batch_size = min(batch_size, windows)
    steps = range(epoch * (windows // batch_size), (epoch + 1) * (windows // batch_size))
    read = [int(i) for step in steps for i in batch_indices(windows, batch_size, seed, step)]
    assert len(set(read)) == len(read) == windows // batch_size * batch_size
    assert read == epoch_order(windows, seed, epoch)[: len(read)].tolist()


LINES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=2).map("\n".join)


@given(LINES, st.floats(0.05, 0.95), st.sampled_from(["character", "line"]))
def test_the_boundary_does_not_look_at_the_text_behind_it(text: str, fraction: float, kind: str) -> None:
    """It is a function of the length and of the training side: another validation text moves nothing."""
    config = SplitConfig.model_validate({"validation_fraction": fraction, "boundary": kind})
    try:
        cut = boundary(text, config)
    except InputError:
        with pytest.raises(InputError):
            boundary(text, config)
        return
    assert boundary(text, config) == cut
    assert boundary(text[:cut] + "\n" * (len(text) - cut), config) == cut
    assert boundary(text[:cut] + "x" * (len(text) - cut), config) == cut


@pytest.mark.parametrize(("text", "kind", "cut"), [("ab\ncd\nef", "line", 6), ("a" * 10, "character", 5)])
def test_the_boundary_lies_at_the_fraction_or_at_the_next_line(text: str, kind: str, cut: int) -> None:
    config = SplitConfig.model_validate({"validation_fraction": 0.5, "boundary": kind})
    assert boundary(text, config) == cut


@pytest.mark.parametrize("text", ["", "x", "a text of one line", "one line with its end\n", "old\rline\rends"])
def test_a_text_without_a_line_in_the_middle_names_the_way_out(text: str) -> None:
    with pytest.raises(InputError, match="use a longer corpus, another fraction, or boundary: character"):
        boundary(text, SplitConfig())


def test_another_validation_text_changes_no_vocabulary_and_no_training_window(tmp_path: Path) -> None:
    text = "".join(f"Line {n} has words that come back, and {n * n}.\n" for n in range(200))
    cut = boundary(text, SplitConfig())
    found = []
    for name, behind in (("a", text[cut:]), ("b", "qz" * (len(text) // 20) + "\n")):
        whole = text[:cut] + behind.ljust(len(text) - cut, "q")[: len(text) - cut]
        assert boundary(whole, SplitConfig()) == cut
        vocabulary = train_bpe([whole[:cut]], 300)
        vocabulary.save(tmp_path / name)
        windows = cut_windows(vocabulary.encode(whole[:cut]), "train", 16, SplitConfig())
        val = cut_windows(vocabulary.encode(whole[cut:]), "val", 16, SplitConfig())
        found.append(((tmp_path / name).read_bytes(), windows.digests(), val.digests()))
    assert found[0][:2] == found[1][:2]
    assert found[0][2] != found[1][2]


LETTERS = train_bpe(["ab ba\n" * 9], 260)


@given(st.lists(st.text("ab \n", min_size=1, max_size=9), min_size=3, max_size=30))
def test_no_window_spans_both_sides(lines: list[str]) -> None:
    """Every window decodes to text of its own side."""
    text = "\n".join(lines)
    config = SplitConfig(validation_fraction=0.4, boundary="character")
    try:
        cut = boundary(text, config)
    except InputError:
        return
    sides: list[tuple[Side, str]] = [("train", text[:cut]), ("val", text[cut:])]
    for side, part in sides:
        tokens = LETTERS.encode(part)
        if len(tokens) > 4:
            for row in cut_windows(tokens, side, 4, config).rows():
                assert LETTERS.decode(row.tolist()) in part


@given(st.integers(0, 300), st.integers(1, 40), st.integers(1, 60))
def test_there_are_as_many_windows_as_rows(count: int, context_length: int, stride: int) -> None:
    windows = Windows(np.arange(count, dtype=TOKEN_DTYPE), context_length, stride)
    assert windows.predicted_tokens == len(windows) * context_length
    if len(windows):
        rows = windows.rows()
        assert rows.shape == (len(windows), context_length + 1)
        assert rows[:, 0].tolist() == [n * stride for n in range(len(windows))]
        assert rows[-1, -1] + stride > count - 1  # no further window fits
    else:
        assert count <= context_length


@given(st.integers(2, 200), st.integers(1, 20), st.integers(1, 9), st.integers(1, 9))
def test_batches_in_order_stop_where_they_are_told(count: int, context: int, batch_size: int, limit: int) -> None:
    windows = Windows(np.arange(count, dtype=TOKEN_DTYPE), context, context)
    sizes = [len(inputs) for inputs, _ in windows.in_order(batch_size)]
    assert sum(sizes) == len(windows)
    assert all(size == batch_size for size in sizes[:-1])
    assert [len(inputs) for inputs, _ in windows.in_order(batch_size, limit)] == sizes[:limit]


@pytest.mark.parametrize("digested", [1, 30, 10**6])
def test_digests_are_those_of_the_arrays(digested: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minigpt.data.windows.DIGEST_BLOCK_TOKENS", digested)
    windows = Windows(np.arange(1000, dtype=TOKEN_DTYPE), 7, 5)
    inputs, targets = windows.batch(np.arange(len(windows)))
    by_hand = {"inputs": inputs, "targets": targets}
    assert windows.digests() == {
        name: hashlib.sha256(array.numpy().astype("<u2").tobytes()).hexdigest() for name, array in by_hand.items()
    }


@given(st.integers(1, 200), st.integers(0, 2**63 - 1), st.integers(0, 50))
def test_an_epochs_order_is_a_permutation_of_its_own(windows: int, seed: int, epoch: int) -> None:
    order = epoch_order(windows, seed, epoch)
    assert sorted(order.tolist()) == list(range(windows))
    assert order.tolist() == epoch_order.__wrapped__(windows, seed, epoch).tolist()
    if windows > 20:
        assert order.tolist() != epoch_order(windows, seed, epoch + 1).tolist()
        assert order.tolist() != epoch_order(windows, seed ^ 1, epoch).tolist()


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 999))
def test_an_epoch_of_whole_batches_covers_every_window(batch_size: int, batches: int, seed: int) -> None:
    count = batch_size * batches
    read = [int(i) for step in range(batches) for i in batch_indices(count, batch_size, seed, step)]
    assert sorted(read) == list(range(count))


def test_some_epochs_cover_every_window_even_if_a_batch_does_not_divide_them() -> None:
    read = [int(i) for step in range(3 * 40) for i in batch_indices(31, 10, 1, step)]
    assert set(read) == set(range(31))


@given(st.lists(st.integers(0, 500), min_size=1), st.integers(0, 99))
def test_a_batch_does_not_depend_on_what_was_asked_before(steps: list[int], seed: int) -> None:
    forward = {step: batch_indices(50, 8, seed, step).tolist() for step in sorted(steps)}
    backward = {step: batch_indices(50, 8, seed, step).tolist() for step in sorted(steps, reverse=True)}
    assert forward == backward


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 6), st.integers(0, 99))
def test_shifted_windows_start_later_in_each_epoch_and_stay_on_their_side(
    context: int, stride: int, batch_size: int, seed: int
) -> None:
    tokens = np.arange(context + stride * (batch_size + 3), dtype=TOKEN_DTYPE)
    windows = cut_windows(tokens, "train", context, SplitConfig(stride_tokens=stride, shift_windows=True))
    per_epoch = len(windows) // batch_size
    for step in range(3 * per_epoch):
        inputs, targets = windows.training_batch(batch_size, seed, step)
        shift = epoch_shift(stride, seed, step // per_epoch)
        plain = batch_indices(len(windows), batch_size, seed, step) * stride
        assert 0 <= shift < stride
        assert inputs[:, 0].tolist() == [min(start + shift, len(tokens) - context - 1) for start in plain.tolist()]
        assert (inputs[:, 1:] - inputs[:, :-1] == 1).all()
        assert (targets - inputs == 1).all()


def test_epochs_are_shifted_by_every_number_of_tokens_and_only_where_it_is_asked_for() -> None:
    tokens = np.arange(100, dtype=TOKEN_DTYPE)
    assert {epoch_shift(8, 1, epoch) for epoch in range(200)} == set(range(8))
    for side, config in (("train", SplitConfig()), ("val", SplitConfig(shift_windows=True))):
        windows = cut_windows(tokens, side, 8, config)
        starts = [int(n) for step in range(60) for n in windows.training_batch(4, 1, step)[0][:, 0]]
        assert {start % 8 for start in starts} == {0}


def test_a_token_file_is_opened_as_it_was_written(tmp_path: Path) -> None:
    tokens = np.arange(65_536, dtype=TOKEN_DTYPE)
    (tmp_path / "tokens").write_bytes(tokens.tobytes())
    (tmp_path / "none").write_bytes(b"")
    assert np.array_equal(open_tokens(tmp_path / "tokens"), tokens)
    assert len(open_tokens(tmp_path / "none")) == 0
    for count in (0, 1):
        with pytest.raises(InputError, match=f"context_length 4 exceeds the {max(count - 1, 0)} training tokens"):
            cut_windows(tokens[:count], "train", 4, SplitConfig())


@pytest.mark.parametrize("shifted", [False, True])
def test_training_is_measured_on_what_it_reads_first(shifted: bool) -> None:
    """Not on the beginning of the text, which a training of less than an epoch may never see."""
    windows = Windows(np.arange(4001, dtype=np.uint16), 4, 4, shifted)
    measured = torch.cat([inputs for inputs, _ in windows.read_first(5, 4, seed=7)])
    read = torch.cat([windows.training_batch(2, 7, step)[0] for step in range(10)])
    assert torch.equal(measured, read)
    for limit in (None, 200, 1000):
        every = torch.cat([inputs for inputs, _ in windows.read_first(5, limit, seed=7)])
        assert torch.equal(every, torch.cat([inputs for inputs, _ in windows.in_order(5)]))
