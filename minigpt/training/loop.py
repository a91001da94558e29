"""The training loop: a generator that yields one StepMetrics a step, and never logs, saves or prints.

A *step* is one optimizer step; step n is the n-th, so 0 means untrained. A *loss* is nats per token.
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
    """A step's loss or gradient is not a finite number, and its weights are those of the step before; or a loss that is
    measured behind it is none.
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
    """Take the steps after `after_step` up to max_steps, each a pure function of weights, optimizer state and step."""
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
    """Leave the mean gradient of the step's batches in the weights; the result is their mean loss."""
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
