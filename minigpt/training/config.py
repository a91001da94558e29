"""The configuration of the training loop and its optimizers."""

import math
from typing import Literal

from pydantic import Field, model_validator

from minigpt.config import Part, Precision
from minigpt.errors import SmallCorpusError
from minigpt.runtime.machine import best_precision


class TrainingConfig(Part):
    """The training loop and its optimizers."""

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
    """Muon's peak learning rate; it follows the same schedule."""
    learning_rate: float = Field(1e-3, gt=0.0, le=10.0)
    """AdamW's peak learning rate."""
    schedule: Literal["constant", "cosine", "warmup_stable_decay"] = "cosine"
    """The learning rate after the warm-up: constant, cosine decay, or constant with a linear decay at the end."""
    decay_fraction: float = Field(0.2, gt=0.0, le=1.0)
    """Fraction of the steps after the warm-up over which warmup_stable_decay decays."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises linearly from 0."""
    final_learning_rate_fraction: float = Field(0.1, ge=0.0, le=1.0)
    """Learning rate of the last step, as a fraction of learning_rate."""
    weight_decay: float = Field(0.1, ge=0.0, le=10.0)
    """Decoupled weight decay of both optimizers: a step shrinks each weight by learning rate x weight_decay."""
    beta1: float = Field(0.9, ge=0.0, lt=1.0)
    """AdamW's beta1, the decay of the running mean of the gradient."""
    beta2: float = Field(0.999, ge=0.0, lt=1.0)
    """AdamW's beta2, the decay of the running mean of the squared gradient."""
    gradient_clip_norm: float | None = Field(1.0, gt=0.0)
    """Gradients with a larger 2-norm are scaled down to this norm; null does not clip."""
    checkpoint_every_steps: int | None = Field(None, ge=1)
    """Steps from one full checkpoint to the next; null for one at the end only."""
    kept_checkpoints: int = Field(2, ge=1, le=1000)
    """Number of newest full checkpoints to keep. With two, a damaged one costs some steps and not the run."""
    keep_every_steps: int | None = Field(None, ge=1)
    """Keep the full checkpoints at multiples of this step as well; null keeps none of them."""
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
        """This config with the fields that the machine decides filled in, from its facts and never from a timing."""
        return self.model_copy(update={"precision": self.precision or best_precision()})

    def epochs(self, windows: int, steps: int | None = None) -> float:
        """Times that `steps` steps (default: all) read each training window."""
        steps = self.max_steps if steps is None else steps
        return steps * self.gradient_accumulation_steps * self.batch_size / windows

    @property
    def full_checkpoints(self) -> int:
        """Largest number of full checkpoints on the disk at once, including the one being written."""
        written = 1 + (self.max_steps // self.checkpoint_every_steps if self.checkpoint_every_steps else 0)
        round_steps = 0
        if self.checkpoint_every_steps and self.keep_every_steps:
            round_steps = self.max_steps // math.lcm(self.checkpoint_every_steps, self.keep_every_steps)
        return min(written, self.kept_checkpoints + 1 + round_steps)

    def tokens_per_step(self, context_length: int) -> int:
        return self.batch_size * self.gradient_accumulation_steps * context_length


def check_batch_size(batch_size: int, windows: int) -> None:
    if batch_size > windows:
        raise SmallCorpusError(
            f"batch_size {batch_size} exceeds the {windows} training windows; "
            "use a smaller batch, a shorter context or a longer corpus"
        )
