"""Paired comparison of models on one text, passage by passage, which separates a difference from chance.

Passages are cut by bytes, so that they are the same for all tokenizers and context lengths.
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
# Probability that chance alone passes for a difference anywhere among the compared models.
FALSE_ALARM_RATE = 0.05
# Tokens whose logits are in memory at a time.
LOGIT_TOKENS = 1024


@dataclass(frozen=True)
class TextLoss:
    """A model's loss on a text: mean nats per token, without the first, and the bits of each passage, (PASSAGES,)."""

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
    """Measure every token but the first once, each after at most context_length others.

    `token_bytes` (V,) is the length of each token in bytes, `text_bytes` that of the text. A token belongs to the
    passage in which it begins. The first token has no context and costs log2(V) bits, so that models with different
    tokenizers pay for the same bytes.
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
    """Loss of each target, in nats, for inputs and targets (B, T): (B * T,)."""
    hidden, wanted = (torch.split(x, LOGIT_TOKENS) for x in (model.hidden(inputs).flatten(0, 1), targets.flatten()))
    parts = [F.cross_entropy(linear(model.head, h), t, reduction="none") for h, t in zip(hidden, wanted, strict=True)]
    return torch.cat(parts).double()


def _batches(tokens: NDArray[np.uint16], context_length: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield windows without overlap, then the tokens after the last full window."""
    windows = Windows(tokens, context_length, context_length)
    yield from windows.in_order(max(1, LOGIT_TOKENS // context_length))
    rest = torch.from_numpy(tokens[len(windows) * context_length :].astype(np.int64))[None]
    if rest.shape[1] > 1:
        yield rest[:, :-1], rest[:, 1:]


def paired_difference(one: TextLoss, other: TextLoss, models: int = 2) -> PairedDifference:
    """Bits per byte that `other` needs more than `one`, both out of `models` models on the same text.

    A difference may be chance if Student's t test over the passages does not reject zero. The test is corrected for the
    number of pairs of models (Bonferroni). Neighbouring passages are correlated, so the standard error includes their
    covariance (Hansen and Hodrick 1980, with a lag of one).
    """
    per_byte = (other.passage_bits - one.passage_bits) * PASSAGES / one.text_bytes
    mean = per_byte.mean()
    apart = per_byte - mean
    alike = (apart[1:] * apart[:-1]).sum().clamp_min(0.0)
    error = ((apart.square().sum() + 2 * alike) / (PASSAGES - 1) / PASSAGES).sqrt().item()
    limit = stdtrit(PASSAGES - 1, 1 - FALSE_ALARM_RATE / 2 / max(1, math.comb(models, 2)))
    return PairedDifference(mean.item(), error, bool(abs(mean.item()) <= limit * error))
