"""Several models on one text: what each passage costs each of them, so that a difference is told from chance.

Passages are cut by bytes, so that they are the same for models of different tokenizers and context lengths.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor

from minigpt.cpu.matmul import linear
from minigpt.data.windows import Windows
from minigpt.evaluation.difference import PairedDifference
from minigpt.evaluation.perplexity import perplexity
from minigpt.model.gpt import GPT

PASSAGES = 32
MIN_TEXT_BYTES = 100 * PASSAGES
# How often chance alone may be taken for a difference anywhere among the models that are compared.
FALSE_ALARM_RATE = 0.05
# Logits of so many tokens are in memory at a time.
LOGIT_TOKENS = 1024


@dataclass(frozen=True)
class TextLoss:
    """A model on a text: mean nats of each token but the first, and the bits of each passage, (PASSAGES,)."""

    loss: float
    tokens: int
    text_bytes: int
    passage_bits: Tensor

    @property
    def perplexity(self) -> float:
        return perplexity(self.loss)

    @property
    def bits_per_byte(self) -> float:
        return self.passage_bits.sum().item() / self.text_bytes


@torch.inference_mode()
def measure_passages(model: GPT, tokens: NDArray[np.uint16], token_bytes: Tensor, text_bytes: int) -> TextLoss:
    """Measure every token but the first once, each after at most context_length others; token_bytes has shape (V,).

    A token belongs to the passage in which it begins. The first one, before which nothing stands, costs log2(V) bits,
    so that models of different tokenizers pay for the same bytes.
    """
    passage_nats = torch.zeros(PASSAGES, dtype=torch.float64)
    begin, count, total = int(token_bytes[int(tokens[0])]), 0, 0.0
    for inputs, targets in _batches(tokens, model.config.context_length):
        losses, sizes = token_losses(model, inputs, targets), token_bytes[targets.flatten()]
        begins = begin + sizes.cumsum(0) - sizes
        passage_nats += torch.bincount(begins * PASSAGES // text_bytes, weights=losses, minlength=PASSAGES)
        begin, count, total = begin + int(sizes.sum()), count + len(losses), total + losses.sum().item()
    passage_nats[0] += math.log(len(token_bytes))
    return TextLoss(total / count, count, text_bytes, passage_nats / math.log(2))


def token_losses(model: GPT, inputs: Tensor, targets: Tensor) -> Tensor:
    """Nats of each target (B, T) after inputs (B, T), as (B * T,)."""
    hidden, wanted = (torch.split(x, LOGIT_TOKENS) for x in (model.hidden(inputs).flatten(0, 1), targets.flatten()))
    parts = [F.cross_entropy(linear(model.head, h), t, reduction="none") for h, t in zip(hidden, wanted, strict=True)]
    return torch.cat(parts).double()


def _batches(tokens: NDArray[np.uint16], context_length: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Windows that do not overlap, then what is left behind the last whole one."""
    windows = Windows(tokens, context_length, context_length)
    yield from windows.in_order(max(1, LOGIT_TOKENS // context_length))
    rest = torch.from_numpy(tokens[len(windows) * context_length :].astype(np.int64))[None]
    if rest.shape[1] > 1:
        yield rest[:, :-1], rest[:, 1:]


def paired_difference(one: TextLoss, other: TextLoss, models: int = 2) -> PairedDifference:
    """What the other costs more than the one, two of so many models on a text.

    May be chance what another text of the kind might as well tell the other way round, by Student's t; the more models
    there are, the larger is what chance alone makes between the best and another of them (Bonferroni). Passages that
    follow each other are alike, which leaves less to be learnt from each (Hansen and Hodrick 1980, one neighbour).
    """
    per_byte = (other.passage_bits - one.passage_bits) * PASSAGES / one.text_bytes
    mean = per_byte.mean()
    apart = per_byte - mean
    alike = (apart[1:] * apart[:-1]).sum().clamp_min(0.0)
    error = ((apart.square().sum() + 2 * alike) / (PASSAGES - 1) / PASSAGES).sqrt().item()
    limit = stdtrit(PASSAGES - 1, 1 - FALSE_ALARM_RATE / 2 / max(1, math.comb(models, 2)))
    return PairedDifference(mean.item(), error, bool(abs(mean.item()) <= limit * error))
