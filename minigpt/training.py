"""The training loop: a generator that yields one StepMetrics a step, and never logs, saves or prints.

A *step* is one optimizer step; step n is the n-th, so 0 means untrained. A *loss* is nats per token.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field, model_validator

from minigpt.config import Part
from minigpt.dataset import Windows
from minigpt.environment import Precision, best_precision
from minigpt.errors import InputError
from minigpt.gradients import Gradient
from minigpt.kernels import Dropout
from minigpt.model import GPT
from minigpt.muon import Muon
from minigpt.randomness import stream


class TrainingConfig(Part):
    """How the weights are learnt."""

    batch_size: int = Field(8, ge=1, le=65_536)
    """Windows in one forward pass."""
    gradient_accumulation_steps: int = Field(1, ge=1, le=4096)
    """Forward passes whose mean gradient makes one step."""
    max_steps: int = Field(1000, ge=1, le=1_000_000_000)
    """Optimizer steps after which the run ends."""
    precision: Precision | None = "fp32"
    """Arithmetic of the matrix products; null: bf16 on CPUs with AMX or AVX512-BF16. Weights are always fp32."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """adamw for all weights, or muon for the matrices of the blocks and adamw for the rest."""
    muon_learning_rate: float = Field(0.02, gt=0.0, le=10.0)
    """Muon's step size at its highest; it follows the same schedule."""
    learning_rate: float = Field(1e-3, gt=0.0, le=10.0)
    """AdamW's step size at its highest."""
    schedule: Literal["constant", "cosine", "warmup_stable_decay"] = "cosine"
    """The learning rate after the warm-up: constant, along a cosine, or constant and then in a line down."""
    decay_fraction: float = Field(0.2, gt=0.0, le=1.0)
    """Share of the steps after the warm-up over which warmup_stable_decay falls."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises in a line from 0."""
    final_learning_rate_fraction: float = Field(0.1, ge=0.0, le=1.0)
    """The last step's learning rate, as a share of learning_rate."""
    weight_decay: float = Field(0.1, ge=0.0, le=10.0)
    """Share of each weight that a step of learning rate 1 would take away, with either optimizer."""
    beta1: float = Field(0.9, ge=0.0, lt=1.0)
    """Decay of AdamW's running mean of the gradient."""
    beta2: float = Field(0.999, ge=0.0, lt=1.0)
    """Decay of AdamW's running mean of the squared gradient."""
    gradient_clip_norm: float | None = Field(1.0, gt=0.0)
    """Longer gradients are scaled down to this 2-norm; null for no limit."""
    checkpoint_every_steps: int | None = Field(None, ge=1)
    """Steps from one full checkpoint to the next; null for one at the end only."""
    kept_checkpoints: int = Field(2, ge=1, le=1000)
    """Newest full checkpoints that are kept; with two of them a damaged one costs some steps and not the run."""
    keep_every_steps: int | None = Field(None, ge=1)
    """Full checkpoints at multiples of this step are kept as well; null for none."""
    early_stopping_evaluations: int | None = Field(None, ge=1)
    """Stop after this many evaluations in a row without a lower validation loss; null never stops early."""

    @model_validator(mode="after")
    def warmup_ends(self) -> "TrainingConfig":
        if self.warmup_steps >= self.max_steps:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} leaves none of the {self.max_steps} max_steps; make it shorter"
            )
        return self

    def resolved(self) -> "TrainingConfig":
        """The same with what this machine decides filled in, from facts and never from a timing."""
        return self.model_copy(update={"precision": self.precision or best_precision()})

    def epochs(self, windows: int, steps: int | None = None) -> float:
        """How often so many steps, or all of them, read each of the training windows."""
        steps = self.max_steps if steps is None else steps
        return steps * self.gradient_accumulation_steps * self.batch_size / windows

    @property
    def full_checkpoints(self) -> int:
        """The most full checkpoints that lie on the disk at once, with the one that is being written."""
        written = 1 + (self.max_steps // self.checkpoint_every_steps if self.checkpoint_every_steps else 0)
        round_steps = 0
        if self.checkpoint_every_steps and self.keep_every_steps:
            round_steps = self.max_steps // math.lcm(self.checkpoint_every_steps, self.keep_every_steps)
        return min(written, self.kept_checkpoints + 1 + round_steps)

    def tokens_per_step(self, context_length: int) -> int:
        return self.batch_size * self.gradient_accumulation_steps * context_length


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


def make_optimizers(model: GPT, config: TrainingConfig) -> list[torch.optim.Optimizer]:
    """AdamW for all weights or, behind it, Muon for the matrices of the blocks."""
    blocks = list(model.blocks.parameters()) if config.optimizer == "muon" else []
    matrices = [weight for weight in blocks if weight.dim() == 2]
    theirs = set(map(id, matrices))
    adamw = torch.optim.AdamW(
        [weight for weight in model.parameters() if id(weight) not in theirs],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )
    if not matrices:
        return [adamw]
    return [adamw, Muon(matrices, config.muon_learning_rate, momentum=0.95, weight_decay=config.weight_decay)]


def check_batch_size(batch_size: int, windows: int) -> None:
    if batch_size > windows:
        raise InputError(
            f"batch_size {batch_size} exceeds the {windows} training windows; "
            "use a smaller batch, a shorter context or a longer corpus"
        )


def train(
    model: GPT,
    optimizers: Sequence[torch.optim.Optimizer],
    windows: Windows,
    config: TrainingConfig,
    seed: int,
    after_step: int = 0,
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
        rate = learning_rate_at(step, config)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = optimizer.defaults["lr"] * (rate / config.learning_rate)
            optimizer.step()
        seconds = time.perf_counter() - started
        yield StepMetrics(step, loss, rate, gradient_norm, step * tokens_per_step, tokens_per_step / seconds)


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
