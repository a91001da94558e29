"""The learning rate over the steps of a run, as a share of the peak rate."""

import math
from typing import NamedTuple

from minigpt.training.config import TrainingConfig


class RateShare(NamedTuple):
    """A share of a peak learning rate, kept as a fraction: dividing before multiplying would round differently."""

    numerator: float
    denominator: float = 1.0

    def of(self, highest: float) -> float:
        return highest * self.numerator / self.denominator


def scheduled_share(step: int, config: TrainingConfig) -> RateShare:
    """The share of every optimizer's peak learning rate at a step, from 1 to max_steps."""
    if step <= config.warmup_steps:
        return RateShare(step, config.warmup_steps)
    last = config.final_learning_rate_fraction
    progress = (step - config.warmup_steps) / max(1, config.max_steps - config.warmup_steps)  # in (0, 1]
    if config.schedule == "cosine":
        return RateShare(last + (1 - last) * (1 + math.cos(math.pi * progress)) / 2)
    if config.schedule == "warmup_stable_decay":
        return RateShare(1 - (1 - last) * max(0.0, 1 - (1 - progress) / config.decay_fraction))
    return RateShare(1.0)


def no_learning(step: int, config: TrainingConfig) -> RateShare:
    """A schedule of zeros: each step does all of its work and leaves the weights as they are."""
    return RateShare(0.0)
