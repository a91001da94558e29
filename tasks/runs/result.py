"""What a run came to, as one value: a script reads it as JSON, and later commands read it back from result.json."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator

from minigpt.cost.price import ActualCost, Quote
from minigpt.evaluation.diagnosis import Finding
from minigpt.evaluation.difference import PairedDifference
from tasks.runs.files import Stored
from tasks.runs.ids import HasRunId

Status = Literal["completed", "stopped_early", "diverged"]
Decision = Literal["ship", "keep", "undecided"]
# JSON has no infinity: pydantic writes null for a number that is not finite.
Number = Annotated[float, BeforeValidator(lambda value: math.inf if value is None else value)]

FINAL_FIELDS = (
    "epochs",
    "train_loss",
    "val_loss",
    "perplexity",
    "bits_per_byte",
    "xz_bits_per_byte",
    "xz_after_training_bits_per_byte",
)
BILL_FIELDS = ("seconds", "usd", "kwh", "co2_kg", "quote_error_fraction")


@dataclass(frozen=True)
class Judgement:
    """What the held-out text says of a run; without a measurement if there is none."""

    time_ms: int
    sentences: tuple[str, ...]
    objection: str
    """Why the run is not to be shipped, in a few words; empty if nothing speaks against it."""
    decision: Decision
    """Ship it, keep what there is, or neither: where there was none to beat, no fair test or no measurement."""
    source: str
    sha256: str | None = None
    size_bytes: int | None = None
    checkpoint: str | None = None
    bits_per_byte: float | None = None
    read_share: float | None = None
    """How much of the text occurs in the run's training text."""
    to_beat: str | None = None
    """The other run, if there is one."""
    saved: PairedDifference | None = None
    """What this run's weights need less than the other's."""


@dataclass(frozen=True)
class TrainingSample:
    """What the model wrote at a step of its training."""

    step: int
    text: str


@dataclass(frozen=True)
class TableSample:
    """What the last weights wrote at one temperature, from the top_k likeliest tokens; None: from all."""

    temperature: float
    top_k: int | None
    text: str


@dataclass(frozen=True)
class FinalSamples:
    """What the last weights wrote, and how much of the greedy text, prompt aside, occurs in the training text."""

    greedy: str
    table: tuple[TableSample, ...]
    longest_copied_tokens: int | None
    passages_with_such_a_copy: float | None
    """Share of the validation text's passages, as long as the sample, that have as long a copy, if it is long."""


@dataclass(frozen=True)
class Samples(FinalSamples):
    """The same, with what the model wrote while it was trained, in order of the steps."""

    in_training: tuple[TrainingSample, ...]


@dataclass(frozen=True)
class Cost:
    """The training's price, as quoted before its first step and as it turned out."""

    quoted: Quote
    actual: ActualCost


class Result(HasRunId, Stored):
    """What `--json` prints and result.json holds: one object about a run that ended."""

    run_id: str
    flow_run_id: str | None
    status: Status
    steps: int
    epochs: float
    training_seconds: float
    tokens_per_second: float
    train_loss: Number
    val_loss: Number
    perplexity: Number
    bits_per_byte: Number
    xz_bits_per_byte: float | None
    xz_after_training_bits_per_byte: float | None
    best_step: int
    best_val_loss: Number
    best_bits_per_byte: Number
    val_windows: int
    val_windows_measured_in_training: int
    """How many of them, from the first, the evaluations in training measure; the best is one of these evaluations."""
    held_out: Judgement | None
    """None if the config names no held-out text."""
    val_copied_share: float | None
    """How much of the validation text occurs in the training text, if that was measured."""
    overfitting_since_step: int | None
    diagnosis: str
    """What may keep the last weights, or after a held-out text the run, from being shipped; empty if nothing does."""
    parameters: int
    corpus_sha256: str
    weights_sha256: str
    curve_sha256: str
    cost: Cost
    samples: Samples
    words: list[str]
    findings: tuple[Finding, ...] = ()
    """What the curve shows, of which `words` has the sentences; results of format 1 have none."""
    run_dir: str

    def metrics(self) -> dict[str, float]:
        """The figures of the last weights, the bill and the held-out text, as MLflow names them, where there is one."""
        values: dict[str, float | None] = {f"final/{name}": getattr(self, name) for name in FINAL_FIELDS}
        values |= {f"bill/{name}": getattr(self.cost.actual, name) for name in BILL_FIELDS}
        values["held_out/bits_per_byte"] = self.held_out.bits_per_byte if self.held_out else None
        return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
