"""The training loop: a generator that yields one StepMetrics per step, and never logs, saves or prints.

A *step* is one optimizer step. Steps count from 1, so step 0 is the untrained model. A *loss* is in nats per token.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from minigpt.cpu.kernels import Dropout
from minigpt.data.windows import Windows
from minigpt.model.gpt import GPT
from minigpt.randomness import stream
from minigpt.training.config import TrainingConfig
from minigpt.training.gradients import Gradient
from minigpt.training.schedule import RateShare, scheduled_share


@dataclass(frozen=True)
class StepMetrics:
    """What one optimizer step did."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens_seen: int
    tokens_per_second: float


class DivergedError(Exception):
    """The loss or the gradient norm of a step, or a loss measured after it, is not finite.

    The weights are those of the last step that was taken: a step with such a gradient is not.
    """

    def __init__(self, step: int, what: str, value: float) -> None:
        super().__init__(f"diverged at step {step}: the {what} is {value}; lower the learning rate or clip gradients")
        self.step = step


def train(
    model: GPT,
    optimizers: Sequence[torch.optim.Optimizer],
    windows: Windows,
    config: TrainingConfig,
    seed: int,
    after_step: int = 0,
    schedule: Callable[[int, TrainingConfig], RateShare] = scheduled_share,
) -> Iterator[StepMetrics]:
    """Take the steps from `after_step` + 1 to max_steps, and yield the metrics of each.

    Each step is a pure function of the weights, the optimizer state, the seed and its number. Raises DivergedError.
    """
    tokens_per_step = config.tokens_per_step(model.config.context_length)
    gradient = Gradient(model, tokens_per_step)
    for step in range(after_step + 1, config.max_steps + 1):
        started = time.perf_counter()
        loss = _accumulate_gradient(model, windows, config, seed, step)
        if not math.isfinite(loss):
            raise DivergedError(step, "loss", loss)
        gradient_norm = gradient.finish(config.gradient_clip_norm)
        if not math.isfinite(gradient_norm):
            raise DivergedError(step, "gradient norm", gradient_norm)
        share = schedule(step, config)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = share.of(optimizer.defaults["lr"])
            optimizer.step()
        seconds = time.perf_counter() - started
        rate, speed = share.of(config.learning_rate), tokens_per_step / seconds
        yield StepMetrics(step, loss, rate, gradient_norm, step * tokens_per_step, speed)


def _accumulate_gradient(model: GPT, windows: Windows, config: TrainingConfig, seed: int, step: int) -> float:
    """Leave the mean gradient of the step's batches in the weights' `grad`, and return their mean loss."""
    model.zero_grad(set_to_none=True)
    rate = model.config.dropout
    if rate is None:
        raise ValueError("model.dropout is null; ModelConfig.resolved decides it once the training text is known")
    dropout = Dropout(rate, stream(seed, "dropout", step)) if rate else None
    passes = config.gradient_accumulation_steps
    total = 0.0
    for part in range(passes):
        inputs, targets = windows.training_batch(config.batch_size, seed, (step - 1) * passes + part)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
            loss = model.loss(inputs, targets, dropout) / passes
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total
