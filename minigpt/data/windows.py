"""From text to windows: the boundary between train and validation text, and the windows cut from each side's tokens."""

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

# Windows are digested in blocks of about this many tokens.
DIGEST_BLOCK_TOKENS = 1 << 18
Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Windows:
    """Overlapping views of (context_length + 1) tokens on one side of the corpus; nothing is copied until a batch."""

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
        """Inputs and targets, each int64 of shape (len(indices), context_length), the target one token ahead.

        Windows start `shift` tokens later than `rows` has them; one that would leave the text ends with it.
        """
        views = np.lib.stride_tricks.sliding_window_view(self.tokens, self.context_length + 1)
        starts = np.minimum(indices * self.stride_tokens + shift, len(views) - 1)
        rows = torch.from_numpy(views[starts].astype(np.int64))
        return rows[:, :-1], rows[:, 1:]

    def training_batch(self, batch_size: int, seed: int, micro_step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch number `micro_step` (from 0): a pure function, so a resume has no state to restore."""
        epoch = micro_step // (len(self) // batch_size)
        shift = epoch_shift(self.stride_tokens, seed, epoch) if self.shifted else 0
        return self.batch(batch_indices(len(self), batch_size, seed, micro_step), shift)

    def in_order(self, batch_size: int, batches: int | None = None) -> Batches:
        """Every window once, first to last, the last batch as short as it is; at most `batches` of them."""
        end = len(self) if batches is None else min(len(self), batches * batch_size)
        for start in range(0, end, batch_size):
            yield self.batch(np.arange(start, min(start + batch_size, end)))

    def read_first(self, batch_size: int, batches: int | None, seed: int) -> Batches:
        """So many batches of the windows that the first epoch begins with, of a long text a fair sample.

        Every window, in order, where there is no limit or they are no more.
        """
        if batches is None or batches * batch_size >= len(self):
            return self.in_order(batch_size)
        order = epoch_order(len(self), seed, 0)
        shift = epoch_shift(self.stride_tokens, seed, 0) if self.shifted else 0
        starts = range(0, batches * batch_size, batch_size)
        return (self.batch(order[start : start + batch_size], shift) for start in starts)

    def read(self, training_batches: int, training_batch_size: int, seed: int, batch_size: int) -> tuple[Batches, int]:
        """What so many training batches have read, each window once, and the tokens of it.

        Less than an epoch: these very batches, of a long text a small part; otherwise every window, in order.
        """
        if training_batches < len(self) // training_batch_size:
            read = (self.training_batch(training_batch_size, seed, batch) for batch in range(training_batches))
            return read, training_batches * training_batch_size * self.context_length
        return self.in_order(batch_size), self.predicted_tokens

    def digests(self) -> dict[str, str]:
        """sha256 of the inputs and of the targets, each as one (windows, context_length) little-endian uint16 array."""
        inputs, targets = hashlib.sha256(), hashlib.sha256()
        rows, rows_at_once = self.rows(), -(-DIGEST_BLOCK_TOKENS // self.context_length)
        for start in range(0, len(rows), rows_at_once):
            block = rows[start : start + rows_at_once]
            inputs.update(block[:, :-1].tobytes())
            targets.update(block[:, 1:].tobytes())
        return {"inputs": inputs.hexdigest(), "targets": targets.hexdigest()}


def cut_windows(tokens: NDArray[np.uint16], side: Side, context_length: int, config: SplitConfig) -> Windows:
    """The windows of one side: validation windows never overlap, so that none of their tokens is measured twice."""
    stride = config.stride_tokens if side == "train" and config.stride_tokens else context_length
    windows = Windows(tokens, context_length, stride, shifted=side == "train" and config.shift_windows)
    if len(windows) == 0:
        name = "training" if side == "train" else "validation"
        raise SmallCorpusError(
            f"context_length {context_length} exceeds the {max(len(tokens) - 1, 0)} {name} tokens that have a "
            "successor; use a shorter context or a longer corpus"
        )
    return windows


def fitting_values(tokens: int, context_length: int, batch_size: int) -> tuple[float, int] | None:
    """A validation_fraction, and a context_length of at most this one, with which this many tokens are enough.

    A batch of windows trains and one window validates, with a fifth to spare, since the share of the characters is
    not quite that of the tokens. None where even windows of one token are too many.
    """
    length = min(context_length, int(0.8 * tokens / (batch_size + 1)) - 1)
    if length < 1:
        return None
    least, most = (length + 1) / tokens, 1 - (batch_size * length + 1) / tokens
    return math.ceil(1000 * min(2 * least, (least + most) / 2)) / 1000, length


@lru_cache(maxsize=2)  # the first one is measured in every epoch
def epoch_order(windows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which one pass reads the training windows."""
    order: NDArray[np.int64] = torch.randperm(windows, generator=stream(seed, "data", epoch)).numpy()
    return order


def epoch_shift(stride_tokens: int, seed: int, epoch: int) -> int:
    """Tokens that one pass leaves out before its first training window."""
    return int(torch.randint(stride_tokens, (), generator=stream(seed, "shift", epoch)))


def batch_indices(windows: int, batch_size: int, seed: int, micro_step: int) -> NDArray[np.int64]:
    """Which windows the batch number `micro_step` (from 0) takes.

    Each epoch reads whole batches of a new order and leaves out the few windows that fill none, other ones each time.
    """
    epoch, position = divmod(micro_step, windows // batch_size)
    return epoch_order(windows, seed, epoch)[position * batch_size : (position + 1) * batch_size]
