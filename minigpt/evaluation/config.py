"""The configuration of evaluation during training and of the held-out text."""

import math

from pydantic import Field, field_validator

from minigpt.config import Part


class EvaluationConfig(Part):
    """When the model is evaluated during training, and on how many windows."""

    every_steps: int = Field(50, ge=1)
    """Steps from one evaluation to the next; the untrained and the last weights are always evaluated."""
    offset_steps: int = Field(0, ge=0)
    """Evaluate at steps that equal this modulo every_steps; step 1 here is step 0 in the book."""
    batch_size: int = Field(16, ge=1, le=4096)
    """Windows per forward pass; it may change the last bits of a loss, never the weights."""
    train_batches: int | None = Field(5, ge=1)
    """Batches from the windows that training reads first; null for all training windows."""
    validation_batches: int | None = Field(None, ge=1)
    """Batches from the start of the validation windows; null for all."""

    @property
    def most_val_windows(self) -> float:
        """Maximum number of validation windows in one evaluation; infinite if there is no limit."""
        return math.inf if self.validation_batches is None else self.validation_batches * self.batch_size

    def due(self, step: int) -> bool:
        """True if the model is evaluated after this step by schedule."""
        return step % self.every_steps == self.offset_steps % self.every_steps


class HeldOutConfig(Part):
    """The held-out text, which decides if a run becomes the champion."""

    source: str | None = Field(None, min_length=1, max_length=4096)
    """A file of at least 3,200 bytes that no run trains on, or a folder of .txt files; null for none.

    After training, the best weights are compared with the champion's on it. The champion is the latest run of the same
    name that was to be shipped.
    """

    @field_validator("source")
    @classmethod
    def source_is_a_path(cls, source: str | None) -> str | None:
        if source is not None and "://" in source:
            raise ValueError("this is a URL, not a path; give a file or a folder")
        return source
