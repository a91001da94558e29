"""The records of a journal: one class for each kind.

In the file, a record is one JSON object with the `kind` of its class and the fields of that class. The first record of
a process holds the format version that the process writes; a file without a version has version 1.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

from minigpt.cost.price import Bill, Quote

# Version 2 added the version itself, and the quote in ProbeRecord.
FORMAT_VERSION = 2


def now_ms() -> int:
    """Unix time in milliseconds, the unit of MLflow's timestamps."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timed:
    kind: ClassVar[str]
    time_ms: int = field(default_factory=now_ms)
    """Unix time in milliseconds at which the record was created."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun(_Timed):
    """A training process begins. The first six fields come from `runtime.environment.process_facts`."""

    python: str
    system: str
    libc: str
    cpu_class: str
    torch_capability: str
    torch_threads: int
    parameters: int
    multiplied_parameters: int
    format_version: int = 1
    """Format version of the records that this process writes."""

    def process_facts(self) -> dict[str, Any]:
        """The facts that `runtime.environment.process_facts` returned in this process."""
        names = ("python", "system", "libc", "cpu_class", "torch_capability", "torch_threads")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRecord(_Begun):
    """The first process of a run begins."""

    kind: ClassVar[str] = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRecord(_Begun):
    """A later process resumes the run."""

    kind: ClassVar[str] = "resume"
    after_step: int
    damaged: list[str]
    """Names of newer checkpoints that could not be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRecord(_Timed):
    """Durations measured on this machine with the untrained model, and the quote computed from them."""

    kind: ClassVar[str] = "probe"
    step_seconds: list[float]
    evaluation_seconds: float
    sample_seconds: float
    checkpoint_seconds: float
    quote: Quote | None = None
    """None only in format version 1; `training.quote.with_quote` fills it in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord(_Timed):
    """One optimizer step, with the fields of `training.loop.StepMetrics`; the loss is in nats per token."""

    kind: ClassVar[str] = "step"
    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens_seen: int
    tokens_per_second: float
    training_seconds: float
    """Time spent on training so far, in all processes of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord(_Timed):
    """Loss of the weights after this step on both sides of the text, in nats per token and in bits per byte."""

    kind: ClassVar[str] = "evaluation"
    step: int
    train_loss: float
    val_loss: float
    train_bits_per_byte: float
    val_bits_per_byte: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRecord(_Timed):
    """A sample that the model wrote after this step."""

    kind: ClassVar[str] = "sample"
    step: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRecord(_Timed):
    """The checkpoint after this step is complete on the disk."""

    kind: ClassVar[str] = "checkpoint"
    step: int
    name: str
    """Name of the checkpoint's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedRecord(_Timed):
    """A resumed process repeated this step, with the same result."""

    kind: ClassVar[str] = "repeated"
    step: int
    training_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRecord(_Timed):
    """A training process ended in an orderly way."""

    kind: ClassVar[str] = "end"
    status: str
    """completed, stopped_early, diverged, interrupted, or differs (a repeated step differs from the journal)."""
    error: str | None
    step: int
    training_seconds: float
    weights_sha256: str


Record = (
    StartRecord
    | ResumeRecord
    | ProbeRecord
    | StepRecord
    | EvaluationRecord
    | SampleRecord
    | CheckpointRecord
    | RepeatedRecord
    | EndRecord
)
AnyRecord = TypeVar("AnyRecord", bound=_Timed)
CLASSES: dict[str, type[Record]] = {record.kind: record for record in get_args(Record)}
FIELDS = {record: tuple(one.name for one in fields(record)) for record in CLASSES.values()}
# Fields that are missing in format version 1.
SINCE_VERSION_2 = {"format_version", "quote"}


class NewerFormatError(Exception):
    """A process wrote the journal with a format version above FORMAT_VERSION."""

    def __init__(self, version: int) -> None:
        super().__init__(f"format version {version}")
        self.version = version


def of_kind(records: Iterable[Record], *classes: type[AnyRecord]) -> Iterator[AnyRecord]:
    """Yield the records of these classes, in order."""
    return (record for record in records if isinstance(record, classes))


def values_of(record: Record) -> dict[str, Any]:
    """The fields of a record by name, in the order of the file."""
    return {name: getattr(record, name) for name in FIELDS[type(record)]}


def record_from(values: Any) -> Record:
    """Convert the JSON value of a line to its record; unknown fields are ignored.

    Raise ValueError if the value is not a record, and NewerFormatError if a newer version of minigpt wrote it.
    """
    record_class = CLASSES.get(str(values.get("kind"))) if isinstance(values, dict) else None
    if record_class is None:
        raise ValueError("a line is not a record of a known kind")
    version = values.get("format_version", 1)
    if type(version) is int and version > FORMAT_VERSION:
        raise NewerFormatError(version)
    known = {}
    for name, types in _TYPES[record_class].items():
        if name in values:
            known[name] = value = values[name]
            if type(value) not in types:
                raise ValueError(f"a record `{record_class.kind}` has the wrong type of {name}: {value!r}")
        elif name not in SINCE_VERSION_2:
            raise ValueError(f"a record `{record_class.kind}` has no {name}")
    if known.get("quote"):
        known["quote"] = _quote_from(known["quote"])
    return record_class(**known)


def _quote_from(values: dict[str, Any]) -> Quote:
    try:
        return Quote(**values | {"bill": Bill(**values["bill"])})
    except (TypeError, KeyError) as error:
        raise ValueError(f"a record `probe` has an invalid quote: {error}") from error


def _json_types(hint: Any) -> tuple[type, ...]:
    """The types that the JSON value of a field may have."""
    if isinstance(hint, UnionType):
        return tuple(one for member in get_args(hint) for one in _json_types(member))
    known: dict[Any, tuple[type, ...]] = {float: (float, int), Quote: (dict,), NoneType: (NoneType,)}
    return known.get(hint, (get_origin(hint) or hint,))


_TYPES = {
    record: {name: _json_types(get_type_hints(record)[name]) for name in names} for record, names in FIELDS.items()
}
