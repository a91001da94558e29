"""The configuration of the samples that a run writes."""

from typing import Annotated

from pydantic import Field

from minigpt.config import Part


class SamplingConfig(Part):
    """The text that a run writes, to be seen and compared."""

    prompt: str = Field("The ", min_length=1, max_length=10_000)
    """What every sample goes on from."""
    max_new_tokens: int = Field(50, ge=1, le=10_000)
    """Tokens of each sample."""
    last_new_tokens: int = Field(150, ge=1, le=10_000)
    """Tokens of the greedy sample after the last step, long enough to show what was learnt by heart."""
    every_steps: int | None = Field(None, ge=1)
    """Steps from one greedy sample in training to the next; null for none but the first and the last."""
    temperatures: tuple[Annotated[float, Field(ge=0.0, le=100.0)], ...] = Field((0.7, 1.0, 1.4), max_length=8)
    """Rows of the last table; 0 is greedy."""
    top_ks: tuple[Annotated[int, Field(ge=1)] | None, ...] = Field((None, 5, 40), max_length=8)
    """Columns of the last table: how many of the likeliest tokens may be drawn; null for all."""
