"""The configuration of evaluations in training and of the held-out text."""

import math

from pydantic import Field, field_validator

from minigpt.config import Part


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
