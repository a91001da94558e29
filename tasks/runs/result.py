"""The result of a run: printed as JSON for scripts, and read back from result.json by later commands."""

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
    """How a run did on the held-out text. The fields with a default stay None if the text could not be measured."""

    time_ms: int
    sentences: tuple[str, ...]
    objection: str
    """Why the run should not be promoted, in a few words; empty if there is no objection."""
    decision: Decision
    """Promote the run (`ship`), keep the champion (`keep`), or `undecided`.

    Undecided means that there was no champion, no fair test or no measurement.
    """
    source: str
    sha256: str | None = None
    size_bytes: int | None = None
    checkpoint: str | None = None
    bits_per_byte: float | None = None
    read_share: float | None = None
    """Contamination: the share of the held-out text that occurs in the run's training text."""
    to_beat: str | None = None
    """Id of the champion that the run was compared with, if there was one."""
    saved: PairedDifference | None = None
    """How many bits per byte this run's weights save against the champion's."""


@dataclass(frozen=True)
class TrainingSample:
    """Text that the model generated at a step of its training."""

    step: int
    text: str


@dataclass(frozen=True)
class TableSample:
    """Text that the last weights generated at one temperature from the `top_k` likeliest tokens (None: from all)."""

    temperature: float
    top_k: int | None
    text: str


@dataclass(frozen=True)
class FinalSamples:
    """Texts that the last weights generated, and how much of the greedy one was copied from the training text."""

    greedy: str
    table: tuple[TableSample, ...]
    longest_copied_tokens: int | None
    """Length of the longest part of the greedy text, without the prompt, that occurs in the training text."""
    passages_with_such_a_copy: float | None
    """Share of the validation passages of the sample's length with a copy at least as long; None for a short copy."""


@dataclass(frozen=True)
class Samples(FinalSamples):
    """The final samples, and those generated during training, ordered by step."""

    in_training: tuple[TrainingSample, ...]


@dataclass(frozen=True)
class Cost:
    """The price of the training: quoted before its first step, and actual."""

    quoted: Quote
    actual: ActualCost


class Result(HasRunId, Stored):
    """The result of a run that ended, as `--json` prints it and result.json stores it."""

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
    """Evaluations during training, which the best values come from, measure the first N of `val_windows`."""
    held_out: Judgement | None
    """None if the config names no held-out text."""
    val_copied_share: float | None
    """Share of the validation text that occurs in the training text; None if not measured."""
    overfitting_since_step: int | None
    diagnosis: str
    """Why the last weights, or the run after a held-out test, should not be promoted; empty without an objection."""
    parameters: int
    corpus_sha256: str
    weights_sha256: str
    curve_sha256: str
    cost: Cost
    samples: Samples
    words: list[str]
    findings: tuple[Finding, ...] = ()
    """What the curve shows; `words` has the sentences. Empty in results of format 1."""
    run_dir: str

    def metrics(self) -> dict[str, float]:
        """The final metrics, the bill and the held-out measurement by MLflow name, without absent or infinite ones."""
        values: dict[str, float | None] = {f"final/{name}": getattr(self, name) for name in FINAL_FIELDS}
        values |= {f"bill/{name}": getattr(self.cost.actual, name) for name in BILL_FIELDS}
        values["held_out/bits_per_byte"] = self.held_out.bits_per_byte if self.held_out else None
        return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
