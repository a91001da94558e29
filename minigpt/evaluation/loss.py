"""Mean token loss, perplexity and bits per byte of a model."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt.evaluation.perplexity import perplexity
from minigpt.model.gpt import GPT


@dataclass(frozen=True)
class Evaluation:
    """Mean loss in nats per token, and the number of tokens and of UTF-8 bytes that it covers."""

    loss: float
    tokens: int
    text_bytes: int

    @property
    def perplexity(self) -> float:
        return perplexity(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """The loss in bits per byte of text, which is comparable between tokenizers and with xz."""
        return self.loss * self.tokens / math.log(2) / self.text_bytes


@torch.inference_mode()
def evaluate(model: GPT, batches: Iterable[tuple[Tensor, Tensor]], token_bytes: Tensor) -> Evaluation:
    """Evaluate the model, without dropout, on batches of inputs and targets, each (B, T).

    `token_bytes` (V,) is the length of each token in bytes. The loss is a mean over tokens, not over batches, so that
    the tokens of a short last batch do not count more than others.
    """
    total, tokens, text_bytes = 0.0, 0, 0
    for inputs, targets in batches:
        total += model.loss(inputs, targets).item() * targets.numel()
        tokens += targets.numel()
        text_bytes += int(token_bytes[targets].sum())
    return Evaluation(total / tokens, tokens, text_bytes)
