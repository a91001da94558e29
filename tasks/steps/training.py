"""The step `training`: start the training process, follow its journal, and send its points to MLflow."""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from minigpt.checkpoints.folders import step_of
from minigpt.cost.price import Quote
from minigpt.errors import INPUT_IS_WRONG, FailedError, InputError
from minigpt.io.journal import JOURNAL, JournalReader, has_ended
from minigpt.io.records import (
    CheckpointRecord,
    EndRecord,
    EvaluationRecord,
    ProbeRecord,
    Record,
    StartRecord,
    StepRecord,
    of_kind,
)
from minigpt.recipe import CONFIG_FILE
from minigpt.training.job import CHECKPOINTS, TrainingJob
from minigpt.training.quote import with_quote
from tasks.home.process import python_environment
from tasks.reporting.progress import ProgressLog
from tasks.runs.ids import shortened
from tasks.runs.run import Run
from tasks.tracking.live import CurveSender
from tasks.tracking.tracker import Tracker

log = logging.getLogger(__name__)

JOURNAL_POLL_SECONDS = 0.3
# A request costs about the same for few points as for many, and takes a core from the training while it lasts.
SENDING_SECONDS = 5.0
# A stopped training process has this long to save its checkpoint, which may be large, before it is killed.
TRAINING_STOP_SECONDS = 120
TRAINING_LOG = "training.log"

# Messages of Python, torch, C++, Rust, the linker and OpenMP when the system refuses a process more memory.
OUT_OF_MEMORY = re.compile(
    r"MemoryError|not enough memory|[Cc]annot allocate|can't allocate|bad_alloc|out of memory|"
    r"memory allocation of \d+ bytes failed|failed to map segment|Thread creation failed"
)


class TrainingFailedError(FailedError):
    """The training process ended without an end record: a bug in this program or a fault of the machine."""


@dataclass(frozen=True)
class Trained:
    """How the training ended; the journal holds everything else."""

    status: str
    steps: int
    training_seconds: float
    weights_sha256: str
    checkpoint: Path
    """The folder of the last weights or, if the training diverged, of the newest with a finite loss."""
    quote: Quote
    curve_sent: bool
    """True if MLflow has every point of the curve."""


@task(name="training", cache_policy=NO_CACHE, retries=0)
def run_training(run: Run, job: TrainingJob, tracker: Tracker) -> Trained:
    """Train in a separate process until the last step; every step is in the journal in the run's folder.

    Raises KeyboardInterrupt if the training was interrupted, InputError if the training process refused its input,
    and TrainingFailedError if it failed or if the run cannot be continued on this machine.
    """
    sender, progress, reader = CurveSender(run, job, tracker), ProgressLog(job), JournalReader(run.folder / JOURNAL)
    records = with_quote(reader.new_records(), job)  # those of a resumed run; sending a point again changes nothing
    sender.send(records)
    progress.log_records(of_kind(records, StartRecord, ProbeRecord))
    if not has_ended(records):
        with stop_signals() as stop, training_process(run.folder, job) as process:
            waiting: list[Record] = []
            next_sending = 0.0
            for new in follow(process, reader, stop):
                progress.log_records(new)
                records += new
                waiting += new
                if time.monotonic() >= next_sending:
                    sender.send(waiting)
                    waiting, next_sending = [], time.monotonic() + SENDING_SECONDS
            sender.send(waiting)
        if process.returncode != 0 or not (records and isinstance(records[-1], EndRecord)):
            output = (run.folder / TRAINING_LOG).read_text(errors="replace")
            raise failure(run.run_id, process.returncode, output, any(of_kind(records, CheckpointRecord)))
    [*_, end] = of_kind(records, EndRecord)
    quote = next((probe.quote for probe in of_kind(records, ProbeRecord)), None)
    if end.status == "interrupted":
        raise KeyboardInterrupt
    if end.status == "differs" or quote is None:
        raise TrainingFailedError(
            f"run {run.run_id} cannot be continued: {end.error or 'it has no quote'}; resume it on the machine and "
            f"with the packages that started it, or start a new run: `minigpt run {run.folder / CONFIG_FILE}`"
        )
    return Trained(
        status=end.status,
        steps=end.step,
        training_seconds=end.training_seconds,
        weights_sha256=end.weights_sha256,
        checkpoint=_last_checkpoint(run, records, end.status),
        quote=quote,
        curve_sent=sender.sent_all,
    )


def failure(run_id: str, exit_code: int, output: str, has_checkpoint: bool) -> FailedError | InputError:
    """Return the error for a training process without an end record, by its output and exit code (-N for signal N)."""
    lines = output.strip().splitlines() or ["nothing"]
    way_on = "continues from its last checkpoint" if has_checkpoint else "starts it again"
    resume = f"`minigpt resume {shortened(run_id)}` {way_on}"
    if exit_code == INPUT_IS_WRONG:
        return InputError(lines[-1])
    if refusal := next((line.strip() for line in lines if OUT_OF_MEMORY.search(line)), None):
        return TrainingFailedError(
            f"the training process ran out of memory ({refusal}); once enough is free, {resume}; "
            "a new run with a smaller training.batch_size or evaluation.batch_size needs less"
        )
    if exit_code == -signal.SIGKILL:
        return TrainingFailedError(
            f"the training process was killed (SIGKILL), by a user or by a system without free memory; {resume}"
        )
    return TrainingFailedError(
        f"the training process ended with exit code {exit_code}; {resume}; its last output:\n" + "\n".join(lines[-12:])
    )


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT (Ctrl-C), SIGTERM and SIGHUP (a closed terminal) set instead of interrupting this process.

    A second SIGINT or SIGTERM raises KeyboardInterrupt. A second SIGHUP does not: the shell and the system may both
    send one for the same closed terminal.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield stop
        return

    def note(number: int, _frame: Any) -> None:
        if stop.is_set():
            if number == signal.SIGHUP:
                return
            raise KeyboardInterrupt
        log.warning("stopping after this step, with a checkpoint; a second signal stops at once")
        stop.set()

    closed = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)  # nohup ignores it
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, *closed)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def training_process(folder: Path, job: TrainingJob) -> Iterator[subprocess.Popen[bytes]]:
    """The training process, in the environment that the job records; it saves and ends when the block is left.

    A KeyboardInterrupt in the block kills it at once.
    """
    with (folder / TRAINING_LOG).open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "minigpt.training", str(folder)],
            env={**python_environment(), **job.config.environment.variables(os.environ)},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    except KeyboardInterrupt:  # a second signal
        process.kill()
        raise
    finally:
        _close_input(process)
        try:
            process.wait(TRAINING_STOP_SECONDS)
        except subprocess.TimeoutExpired:  # the error that left the block matters more
            process.kill()
        except BaseException:
            process.kill()
            raise


def _close_input(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to save a checkpoint and end: it watches for the end of its standard input."""
    if process.stdin:
        process.stdin.close()


def follow(process: subprocess.Popen[bytes], reader: JournalReader, stop: threading.Event) -> Iterator[list[Record]]:
    """Yield batches of new journal records until the process has ended and all are read.

    Once `stop` is set, the process is asked to save and end.
    """
    while True:
        ended = process.poll() is not None
        if stop.is_set():
            _close_input(process)
        if records := reader.new_records():
            yield records
        elif ended:
            return
        else:
            stop.wait(JOURNAL_POLL_SECONDS) if not stop.is_set() else time.sleep(JOURNAL_POLL_SECONDS)


def _last_checkpoint(run: Run, records: Sequence[Record], status: str) -> Path:
    """Return the checkpoint of the last step or, if the run diverged, the newest with a loss known to be finite.

    Its files are not checked here: loading it does that. Raises TrainingFailedError if no checkpoint was written.
    """
    written = [run.folder / CHECKPOINTS / record.name for record in of_kind(records, CheckpointRecord)]
    if not written:
        raise TrainingFailedError(f"no complete checkpoint was written to {run.folder / CHECKPOINTS}")
    if status == "diverged":  # the loss of a step is that of the weights before it
        measured = {record.step for record in of_kind(records, EvaluationRecord)}
        measured |= {record.step - 1 for record in of_kind(records, StepRecord)}
        return max((folder for folder in written if step_of(folder) in measured and folder.exists()), key=step_of)
    full = [folder for folder in written if folder.name.startswith("last-")]
    return max(full or written, key=step_of)
