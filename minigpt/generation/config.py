"""The configuration of a run's samples."""

from typing import Annotated

from pydantic import Field

from minigpt.config import Part


class SamplingConfig(Part):
    """The samples that a run generates, so that runs can be compared by eye."""

    prompt: str = Field("The ", min_length=1, max_length=10_000)
    """The text that every sample continues."""
    max_new_tokens: int = Field(50, ge=1, le=10_000)
    """Length of each sample, in tokens."""
    last_new_tokens: int = Field(150, ge=1, le=10_000)
    """Length of the greedy sample after the last step, in tokens; long enough to show memorization."""
    every_steps: int | None = Field(None, ge=1)
    """Steps from one greedy sample in training to the next; null: only before the first and after the last step."""
    temperatures: tuple[Annotated[float, Field(ge=0.0, le=100.0)], ...] = Field((0.7, 1.0, 1.4), max_length=8)
    """Rows of the final table of samples; 0 is greedy."""
    top_ks: tuple[Annotated[int, Field(ge=1)] | None, ...] = Field((None, 5, 40), max_length=8)
    """Columns of the final table of samples: draw from this many of the likeliest tokens; null for all."""
