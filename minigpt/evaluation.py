"""How good a model is: mean token loss, perplexity and bits per byte, weighted by tokens."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from pydantic import Field, field_validator
from torch import Tensor

from minigpt.config import Part
from minigpt.model import GPT


class EvaluationConfig(Part):
    """When and on how much the model is measured while it trains."""

    every_steps: int = Field(50, ge=1)
    """Steps from one evaluation to the next; the untrained and the last weights are always measured."""
    offset_steps: int = Field(0, ge=0)
    """Evaluate where step modulo every_steps is this; the book counts from 0 what is step 1 here."""
    batch_size: int = Field(16, ge=1, le=4096)
    """Windows in one pass; another size changes the last bits of a loss, never of the weights."""
    train_batches: int | None = Field(5, ge=1)
    """Batches of the windows that the training reads first; null for all of the training side."""
    validation_batches: int | None = Field(None, ge=1)
    """Batches from the start of the validation side; null for all."""

    @property
    def most_val_windows(self) -> float:
        """No evaluation in training measures more."""
        return math.inf if self.validation_batches is None else self.validation_batches * self.batch_size

    def due(self, step: int) -> bool:
        return step % self.every_steps == self.offset_steps % self.every_steps


class HeldOutConfig(Part):
    """A text that decides whether a run is to be shipped."""

    source: str | None = Field(None, min_length=1, max_length=4096)
    """A file of 3,200 bytes or more that no run reads, or a folder of .txt files; null for none.

    Behind the training the best weights are measured on it, beside those of the run to beat: the last of the same name
    that was to be shipped.
    """

    @field_validator("source")
    @classmethod
    def source_is_a_path(cls, source: str | None) -> str | None:
        if source is not None and "://" in source:
            raise ValueError("it is no path: give a file or a folder")
        return source


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


def perplexity(loss: float) -> float:
    """exp(mean token loss): between how many tokens the model hesitates; infinite where a float cannot hold it."""
    return math.exp(loss) if loss < 709 else math.inf


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
