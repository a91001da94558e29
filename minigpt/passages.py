"""Several models on one text: what each passage costs each of them, so that a difference is told from chance.

Passages are cut by bytes, so that they are the same for models of different tokenizers and context lengths.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from minigpt.dataset import Windows
from minigpt.evaluation import Evaluation
from minigpt.model import GPT
from minigpt.text import size_bytes

PASSAGES = 32
# Of each passage so many bytes are looked for in a training text; that many are no chance.
QUOTED_BYTES = 100
LEAST_BYTES = PASSAGES * QUOTED_BYTES
# Logits of so many tokens are in memory at a time.
TOKENS_AT_ONCE = 1024


@dataclass(frozen=True)
class Reading:
    """A model on a text, and the bits that each of its passages costs, (PASSAGES,)."""

    evaluation: Evaluation
    passage_bits: Tensor


@dataclass(frozen=True)
class Difference:
    """Bits per byte between two models on one text, and the standard error of that from passage to passage."""

    bits_per_byte: float
    standard_error: float

    @property
    def is_chance(self) -> bool:
        """Whether another text of this kind might as well tell the opposite: less than two standard errors."""
        return abs(self.bits_per_byte) < 2 * self.standard_error


def quotes(text: BinaryIO) -> Iterator[bytes]:
    """The beginning of each passage."""
    size = size_bytes(text)
    for number in range(PASSAGES):
        text.seek(number * size // PASSAGES)
        yield text.read(QUOTED_BYTES)


@torch.inference_mode()
def read_tokens(model: GPT, tokens: NDArray[np.uint16], token_bytes: Tensor) -> Reading:
    """Measure every token but the first once, each after at most context_length others; token_bytes has shape (V,).

    A token belongs to the passage in which it begins.
    """
    batches = _batches(tokens, model.config.context_length)
    losses = torch.cat([token_losses(model, *batch) for batch in batches]).double()
    sizes = token_bytes[torch.from_numpy(tokens.astype(np.int64))]
    begins = sizes.cumsum(0)[:-1]  # of all but the first
    nats = torch.bincount(begins * PASSAGES // sizes.sum(), weights=losses, minlength=PASSAGES)
    evaluation = Evaluation(losses.mean().item(), len(losses), int(sizes[1:].sum()))
    return Reading(evaluation, nats / math.log(2))


def token_losses(model: GPT, inputs: Tensor, targets: Tensor) -> Tensor:
    """Nats of each target (B, T) after inputs (B, T), as (B * T,)."""
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="none")


def _batches(tokens: NDArray[np.uint16], context_length: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Windows that do not overlap, then what is left behind the last whole one."""
    windows = Windows(tokens, context_length, context_length)
    yield from windows.in_order(max(1, TOKENS_AT_ONCE // context_length))
    rest = torch.from_numpy(tokens[len(windows) * context_length :].astype(np.int64))[None]
    if rest.shape[1] > 1:
        yield rest[:, :-1], rest[:, 1:]


def difference(one: Reading, other: Reading) -> Difference:
    """What the other costs more than the one."""
    passage_bytes = one.evaluation.text_bytes / PASSAGES
    bits_per_byte = (other.passage_bits - one.passage_bits) / passage_bytes
    return Difference(bits_per_byte.mean().item(), bits_per_byte.std().item() / math.sqrt(PASSAGES))
