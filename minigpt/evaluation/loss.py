"""How good a model is: mean token loss, perplexity and bits per byte, weighted by tokens."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt.evaluation.perplexity import perplexity
from minigpt.model.gpt import GPT


@dataclass(frozen=True)
class Evaluation:
    """Mean loss in nats per token, with the tokens and the UTF-8 bytes of text that it covers."""

    loss: float
    tokens: int
    text_bytes: int

    @property
    def perplexity(self) -> float:
        return perplexity(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """The same loss per byte of the text, so that tokenizers can be compared with each other and with xz."""
        return self.loss * self.tokens / math.log(2) / self.text_bytes


@torch.inference_mode()
def evaluate(model: GPT, batches: Iterable[tuple[Tensor, Tensor]], token_bytes: Tensor) -> Evaluation:
    """Measure the model on (inputs, targets) batches of shape (B, T), without dropout; token_bytes has shape (V,).

    The sum of the token losses is divided by their number: a mean of batch means would count the tokens of a short
    last batch for more than the others.
    """
    total, tokens, text_bytes = 0.0, 0, 0
    for inputs, targets in batches:
        total += model.loss(inputs, targets).item() * targets.numel()
        tokens += targets.numel()
        text_bytes += int(token_bytes[targets].sum())
    return Evaluation(total / tokens, tokens, text_bytes)
