"""What must hold after every fault: the same bits as an undisturbed run, nothing lost, nothing twice, nothing left."""

import math
import re
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minigpt.checkpoints.folders import newest_intact
from minigpt.checkpoints.format import load_checkpoint, weights_of, weights_sha256
from minigpt.io.journal import JOURNAL, curve_sha256, loss_curve, read_journal
from minigpt.io.records import EndRecord, EvaluationRecord, Record, StepRecord

# Numbers that two runs do not share, for they are seconds or what follows from them.
MEASURED = ("throughput/tokens_per_second", "quote/", "bill/")
# Numbers that are of no step's record.
SINGLE = ("quote/", "bill/", "final/", "checkpoint/")
STEP_FIELDS = {
    "loss/train_step": "loss",
    "optimizer/learning_rate": "learning_rate",
    "optimizer/gradient_norm": "gradient_norm",
    "throughput/tokens_seen": "tokens_seen",
    "throughput/tokens_per_second": "tokens_per_second",
}

# What the log of a process says that a failing disk ended.
NAMED = re.compile(r"Input/output error|No space left on device|I/O error|database or disk is full")

Point = tuple[str, int, float, int]


class LostError(AssertionError):
    """Points of the journal that the store does not have."""

    def __init__(self, points: set[Point]) -> None:
        super().__init__(f"{len(points)} points are not in the store: {sorted(points)[:5]}")
        self.count = len(points)


class DoubledError(AssertionError):
    """Points that the store has twice, or that the journal does not have."""

    def __init__(self, points: set[Any]) -> None:
        super().__init__(f"{len(points)} points are in the store that should not be: {sorted(points)[:5]}")
        self.count = len(points)


@dataclass(frozen=True)
class Outcome:
    """All that may not depend on what happened to a run."""

    run_id: str
    status: str
    weights_sha256: str
    curve_sha256: str
    checkpoints: tuple[str, ...]
    points: frozenset[tuple[str, int, float]]


def outcome(run: Any) -> Outcome:
    """Of a run that has ended; what the run holds by itself is checked on the way."""
    records = read_journal(run.folder / JOURNAL)
    assert isinstance(records[-1], EndRecord)
    curve = loss_curve(records)
    assert [step for step, _ in curve] == list(range(1, records[-1].step + 1))
    newest = newest_intact(run.checkpoints, "last")
    assert newest is not None
    model, _ = load_checkpoint(newest)
    assert records[-1].weights_sha256 == weights_sha256(weights_of(model))
    temporary = [path for path in run.home.rglob("*") if path.name.endswith((".tmp", "-journal", "-wal"))]
    assert not temporary, temporary
    assert not list(run.left_processes())
    stored = stored_points(run.home / "mlflow.db", run.run.run_id)
    compare_with_journal(stored, points_of(records))
    return Outcome(
        run_id=run.run.run_id,
        status=store_status(run.home / "mlflow.db"),
        weights_sha256=records[-1].weights_sha256,
        curve_sha256=curve_sha256(curve),
        checkpoints=tuple(sorted(path.name for path in run.checkpoints.iterdir())),
        points=deterministic(stored),
    )


def deterministic(stored: list[Point]) -> frozenset[tuple[str, int, float]]:
    """What may not differ between two runs."""
    return frozenset((key, step, value) for key, step, value, _ in stored if not key.startswith(MEASURED))


def stored_points(database: Path, run_id: str) -> list[Point]:
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        query = "select key, step, value, timestamp from metrics where run_uuid = ?"
        return connection.execute(query, [run_id]).fetchall()


def store_status(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        ((status,),) = connection.execute("select status from runs").fetchall()
    return str(status)


def points_of(records: list[Record]) -> set[Point]:
    """What the store has to have of the steps and evaluations; written down here a second time on purpose."""
    points: set[Point] = set()
    best = math.inf
    for record in records:
        values: dict[str, float] = {}
        if isinstance(record, StepRecord):
            values = {key: getattr(record, field) for key, field in STEP_FIELDS.items()}
        elif isinstance(record, EvaluationRecord):
            for side in ("train", "val"):
                values[f"loss/{side}"] = getattr(record, f"{side}_loss")
                values[f"bits_per_byte/{side}"] = getattr(record, f"{side}_bits_per_byte")
                values[f"perplexity/{side}"] = math.exp(values[f"loss/{side}"])
            if record.val_loss < best:
                best = record.val_loss
                values["best/val_loss"], values["best/step"] = best, record.step
                values["best/perplexity"] = math.exp(best)
                values["best/bits_per_byte"] = record.val_bits_per_byte
        points |= {(key, record.step, value, record.time_ms) for key, value in values.items()}
    return points


def compare_with_journal(stored: list[Point], expected: set[Point]) -> None:
    """Each point of the journal once, with its time."""
    if missing := expected - set(stored):
        raise LostError(missing)
    if twice := {place for place, count in Counter((key, step) for key, step, _, _ in stored).items() if count > 1}:
        raise DoubledError(twice)
    if more := {point for point in stored if not point[0].startswith(SINGLE)} - expected:
        raise DoubledError(more)


def without_checkpoints(outcome: Outcome) -> Outcome:
    """For a run that was stopped in good order: it has one more checkpoint, where it stopped."""
    return replace(outcome, checkpoints=())
