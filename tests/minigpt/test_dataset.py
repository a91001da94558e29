"""Boundary and windows: nothing spans both sides, every token is predicted once, and order is a pure function."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt import dataset
from minigpt.dataset import SplitConfig, Windows, batch_indices, cut_windows, epoch_order
from minigpt.errors import InputError


@given(st.text(), st.floats(0.01, 0.99), st.sampled_from(["character", "line"]))
def test_the_boundary_leaves_two_sides_or_says_why(text: str, fraction: float, kind: str) -> None:
    config = SplitConfig.model_validate({"validation_fraction": fraction, "boundary": kind})
    try:
        cut = dataset.boundary(text, config)
    except InputError as error:
        assert "validation_fraction" in str(error)
        return
    assert 0 < cut < len(text)
    assert kind == "character" or text[cut - 1] == "\n"


@given(st.integers(0, 500), st.integers(1, 50))
def test_windows_predict_each_token_once(count: int, context_length: int) -> None:
    windows = Windows(np.arange(count, dtype=dataset.TOKEN_DTYPE), context_length, context_length)
    targets = [int(token) for _, y in windows.in_order(3) for token in y.flatten()]
    assert targets == list(range(1, 1 + windows.predicted_tokens))
    assert count - 1 - len(targets) < context_length


def test_inputs_and_targets_are_one_apart() -> None:
    windows = Windows(np.arange(100, dtype=dataset.TOKEN_DTYPE), 8, 4)
    inputs, targets = windows.batch(np.array([0, 3]))
    assert inputs.tolist() == [list(range(8)), list(range(12, 20))]
    assert (targets - inputs).unique().tolist() == [1]


def test_a_side_shorter_than_a_window_is_refused() -> None:
    tokens = np.zeros(181, dataset.TOKEN_DTYPE)
    with pytest.raises(InputError, match="context_length 256 exceeds the 180 validation tokens"):
        cut_windows(tokens, "val", 256, SplitConfig())


def test_validation_windows_never_overlap() -> None:
    tokens = np.zeros(100, dataset.TOKEN_DTYPE)
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
