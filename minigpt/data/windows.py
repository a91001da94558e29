"""Windows: the overlapping pieces of (context_length + 1) tokens that a model reads, and their order in training."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from minigpt.data.config import SplitConfig
from minigpt.data.tokens import Side
from minigpt.errors import SmallCorpusError
from minigpt.randomness import stream

# `Windows.digests` hashes blocks of about this many tokens.
DIGEST_BLOCK_TOKENS = 1 << 18
Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Windows:
    """Views of (context_length + 1) tokens, `stride_tokens` apart, on one side of the corpus; only batches are copied.

    `shifted` windows start at another token in each epoch.
    """

    tokens: NDArray[np.uint16]
    context_length: int
    stride_tokens: int
    shifted: bool = False

    def __len__(self) -> int:
        return max(0, -(-(len(self.tokens) - self.context_length) // self.stride_tokens))

    @property
    def predicted_tokens(self) -> int:
        return len(self) * self.context_length

    def rows(self) -> NDArray[np.uint16]:
        """All windows as a view of shape (windows, context_length + 1)."""
        views = np.lib.stride_tricks.sliding_window_view(self.tokens, self.context_length + 1)
        return views[:: self.stride_tokens]

    def batch(self, indices: NDArray[np.int64], shift: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets, each int64 of shape (len(indices), context_length); targets are one token ahead.

        Windows start `shift` tokens later than in `rows`; a window that would pass the end of the text ends there.
        """
        views = np.lib.stride_tricks.sliding_window_view(self.tokens, self.context_length + 1)
        starts = np.minimum(indices * self.stride_tokens + shift, len(views) - 1)
        rows = torch.from_numpy(views[starts].astype(np.int64))
        return rows[:, :-1], rows[:, 1:]

    def training_batch(self, batch_size: int, seed: int, micro_step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets of batch `micro_step` (from 0).

        This is a pure function of its arguments, so a resume has no state to restore.
        """
        epoch = micro_step // (len(self) // batch_size)
        shift = epoch_shift(self.stride_tokens, seed, epoch) if self.shifted else 0
        return self.batch(batch_indices(len(self), batch_size, seed, micro_step), shift)

    def in_order(self, batch_size: int, batches: int | None = None) -> Batches:
        """Yield at most `batches` batches of windows in the order of the text; the last batch may be shorter."""
        end = len(self) if batches is None else min(len(self), batches * batch_size)
        for start in range(0, end, batch_size):
            yield self.batch(np.arange(start, min(start + batch_size, end)))

    def read_first(self, batch_size: int, batches: int | None, seed: int) -> Batches:
        """The first `batches` batches of the first epoch, which are a fair sample of a long text.

        If `batches` is None or covers all windows, yield every window in the order of the text.
        """
        if batches is None or batches * batch_size >= len(self):
            return self.in_order(batch_size)
        order = epoch_order(len(self), seed, 0)
        shift = epoch_shift(self.stride_tokens, seed, 0) if self.shifted else 0
        starts = range(0, batches * batch_size, batch_size)
        return (self.batch(order[start : start + batch_size], shift) for start in starts)

    def read(self, training_batches: int, training_batch_size: int, seed: int, batch_size: int) -> tuple[Batches, int]:
        """The windows that the first `training_batches` batches of a training read, each once, and their token count.

        During the first epoch these are the training batches themselves. After it they are all windows in the order
        of the text, in batches of `batch_size`.
        """
        if training_batches < len(self) // training_batch_size:
            read = (self.training_batch(training_batch_size, seed, batch) for batch in range(training_batches))
            return read, training_batches * training_batch_size * self.context_length
        return self.in_order(batch_size), self.predicted_tokens

    def digests(self) -> dict[str, str]:
        """sha256 of the inputs and of the targets, each as one little-endian uint16 array (windows, context_length)."""
        inputs, targets = hashlib.sha256(), hashlib.sha256()
        rows, rows_at_once = self.rows(), -(-DIGEST_BLOCK_TOKENS // self.context_length)
        for start in range(0, len(rows), rows_at_once):
            block = rows[start : start + rows_at_once]
            inputs.update(block[:, :-1].tobytes())
            targets.update(block[:, 1:].tobytes())
        return {"inputs": inputs.hexdigest(), "targets": targets.hexdigest()}


def cut_windows(tokens: NDArray[np.uint16], side: Side, context_length: int, config: SplitConfig) -> Windows:
    """Cut one side into windows; validation windows never overlap, so that each of their tokens is measured once.

    Raise SmallCorpusError if the tokens do not fill one window.
    """
    stride = config.stride_tokens if side == "train" and config.stride_tokens else context_length
    windows = Windows(tokens, context_length, stride, shifted=side == "train" and config.shift_windows)
    if len(windows) == 0:
        name = "training" if side == "train" else "validation"
        raise SmallCorpusError(
            f"context_length {context_length} exceeds the {max(len(tokens) - 1, 0)} {name} tokens that have a "
            "next token; use a shorter context or a longer corpus"
        )
    return windows


def fitting_values(tokens: int, context_length: int, batch_size: int) -> tuple[float, int] | None:
    """Suggest (validation_fraction, context_length) for which this many tokens suffice; None if there are none.

    The suggestion leaves one batch of windows for training and one window for validation, plus a fifth, because the
    fraction counts characters, not tokens. The context is never longer than `context_length`.
    """
    length = min(context_length, int(0.8 * tokens / (batch_size + 1)) - 1)
    if length < 1:
        return None
    least, most = (length + 1) / tokens, 1 - (batch_size * length + 1) / tokens
    return math.ceil(1000 * min(2 * least, (least + most) / 2)) / 1000, length


@lru_cache(maxsize=2)  # evaluations read the first epoch's order in every epoch
def epoch_order(windows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which an epoch reads the training windows: a random permutation of shape (windows,)."""
    order: NDArray[np.int64] = torch.randperm(windows, generator=stream(seed, "data", epoch)).numpy()
    return order


def epoch_shift(stride_tokens: int, seed: int, epoch: int) -> int:
    """Tokens that an epoch skips before its first training window, from 0 to stride_tokens - 1."""
    return int(torch.randint(stride_tokens, (), generator=stream(seed, "shift", epoch)))


def batch_indices(windows: int, batch_size: int, seed: int, micro_step: int) -> NDArray[np.int64]:
    """Indices of the windows in batch `micro_step` (from 0), shape (batch_size,).

    Each epoch has its own order, and drops the last windows of that order if they do not fill a batch.
    """
    epoch, position = divmod(micro_step, windows // batch_size)
    return epoch_order(windows, seed, epoch)[position * batch_size : (position + 1) * batch_size]
