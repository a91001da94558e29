"""A whole run in one small process that dies where it is told to.

The training process's own `main`, and the follower that sends its journal to MLflow, which otherwise runs in the
process that started it; here after every few records, so that a kill can fall between any two of their acts. Nothing
in the code under test knows of faults: functions are wrapped from here.
"""

import functools
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from minigpt.checkpoints import format as checkpoint
from minigpt.checkpoints import manager
from minigpt.io import store
from minigpt.io.journal import JOURNAL, Journal, JournalReader, has_ended, read_journal
from minigpt.io.records import Record
from minigpt.training import probe, trainer
from minigpt.training.__main__ import train_run_folder
from minigpt.training.job import read_job
from minigpt.training.trainer import Trainer
from tasks.runs.run import Run
from tasks.tracking import publish
from tasks.tracking.live import CurveSender
from tasks.tracking.publish import MLFLOW_STATUS, publish_run
from tasks.tracking.tracker import MlflowTracker

RECORDS_PER_SENDING = 4

# Where a run can be killed: before and after each call of these.
POINTS: dict[str, tuple[Any, str]] = {
    "step": (Trainer, "_after_step"),
    "evaluation": (Trainer, "_evaluate"),
    "sample": (Trainer, "_sample"),
    "journal write": (Journal, "append"),
    "journal sync": (Journal, "sync"),
    "tensor file": (checkpoint, "save_file"),
    "fsync": (os, "fsync"),
    "manifest": (store, "write_atomically"),
    "rename": (Path, "rename"),
    "checkpoint begun": (manager, "begin_checkpoint"),
    "proof": (manager, "superseded_checkpoints"),
    "deletion": (shutil, "rmtree"),
    "batch sent": (MlflowClient, "log_batch"),
    "status": (publish, "set_status"),
}


@dataclass(frozen=True)
class Signal:
    """What the run does to itself `before` or `after` the call number `passing` (from 1) of a point."""

    point: str
    side: str
    passing: int
    number: int = signal.SIGKILL


def live(
    run: Run,
    home: Path,
    at: Signal | None = None,
    stop_first: bool = False,
    lock_seconds: float = 5,
    patience_seconds: int = 20,
) -> None:
    """Start or resume the run, and end with its last record; with `stop_first`, wait for SIGCONT at the start."""
    os.setsid()
    os.environ["MINIGPT_HOME"] = str(home)
    os.environ |= {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(patience_seconds), "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0"}
    log = os.open(run.folder / "victim.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    reading_end, _ = os.pipe()  # a standard input that never closes
    os.dup2(reading_end, 0)
    trainer.WRITER_LOCK_SECONDS = lock_seconds  # type: ignore[assignment]
    probe.STEPS = 4  # for the quote, which nothing here looks at; five times as many as the steps otherwise
    passings: Counter[str] = Counter()
    for point, (owner, name) in POINTS.items():
        setattr(owner, name, _watched(getattr(owner, name), point, at, passings))
    if stop_first:
        os.kill(os.getpid(), signal.SIGSTOP)
    _run(run)
    (home / "passings.json").write_text(json.dumps(passings))


def _watched(call: Callable[..., Any], point: str, at: Signal | None, passings: Counter[str]) -> Callable[..., Any]:
    @functools.wraps(call)
    def watched(*arguments: Any, **named: Any) -> Any:
        passings[point] += 1
        here = (at.side, at.number) if at and (at.point, at.passing) == (point, passings[point]) else None
        if here and here[0] == "before":
            os.kill(os.getpid(), here[1])
        result = call(*arguments, **named)
        if here and here[0] == "after":
            os.kill(os.getpid(), here[1])
        return result

    return watched


def _run(run: Run) -> None:
    job = read_job(run.folder)
    follower, reader = CurveSender(run, job, MlflowTracker(run.tracking)), JournalReader(run.folder / JOURNAL)
    records = reader.new_records()
    follower.send(records)
    append, written = Journal.append, 0

    def append_and_send(self: Journal, record: Record) -> None:
        nonlocal written
        append(self, record)
        written += 1
        if written % RECORDS_PER_SENDING == 0:
            follower.send(reader.new_records())

    Journal.append = append_and_send  # type: ignore[method-assign]
    if not has_ended(records):
        train_run_folder(run.folder)
        follower.send(reader.new_records())
    status = read_journal(run.folder / JOURNAL)[-1].status
    publish_run(run, curve=not follower.sent_all)
    publish.set_status(run, MLFLOW_STATUS.get(status, "KILLED"), status, {})
