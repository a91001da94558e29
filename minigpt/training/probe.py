"""The time of a step on this machine, for the quote: real steps, taken before the first one that counts."""

import time
from contextlib import suppress
from itertools import islice

from minigpt.data.windows import Windows
from minigpt.model.gpt import GPT
from minigpt.training.config import TrainingConfig
from minigpt.training.loop import DivergedError, train
from minigpt.training.optimizers import make_optimizers
from minigpt.training.schedule import no_learning

# The probe ends after this number of steps or seconds, whichever comes first. The first steps warm up.
STEPS = 60
SECONDS = 4.0
WARM_UP_STEPS = 2


def probe(model: GPT, windows: Windows, config: TrainingConfig, seed: int) -> list[float]:
    """Seconds of each step. The weights are unchanged afterwards; the gradients are those of the last step."""
    tokens = config.tokens_per_step(model.config.context_length)
    seconds: list[float] = []
    started = time.perf_counter()
    with suppress(DivergedError):  # the training will diverge at the same step and report it
        steps = train(model, make_optimizers(model, config), windows, config, seed, schedule=no_learning)
        for metrics in islice(steps, STEPS):
            seconds.append(tokens / metrics.tokens_per_second)
            if sum(seconds) > SECONDS and len(seconds) > 1:
                break
    seconds = seconds or [time.perf_counter() - started]
    return seconds[min(WARM_UP_STEPS, len(seconds) - 1) :]
