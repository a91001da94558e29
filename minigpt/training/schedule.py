"""The learning rate over the steps of a run."""

import math

from minigpt.training.config import TrainingConfig


def learning_rate_at(step: int, config: TrainingConfig) -> float:
    """The learning rate of step 1 to max_steps."""
    if step <= config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    last = config.final_learning_rate_fraction
    progress = (step - config.warmup_steps) / max(1, config.max_steps - config.warmup_steps)  # in (0, 1]
    if config.schedule == "cosine":
        share = last + (1 - last) * (1 + math.cos(math.pi * progress)) / 2
    elif config.schedule == "warmup_stable_decay":
        share = 1 - (1 - last) * max(0.0, 1 - (1 - progress) / config.decay_fraction)
    else:
        share = 1.0
    return config.learning_rate * share
