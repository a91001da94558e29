"""What MLflow gets of a run's folder: the curve while it trains, the rest when it has ended, and again by `sync`.

The folder is the truth. A store that fails never stops a run: what it did not take is sent later.
"""

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from filelock import FileLock

from minigpt.checkpoints.format import newest_intact, step_of
from minigpt.evaluation.loss import perplexity
from minigpt.io.journal import JOURNAL, Record, of_kind, read_journal
from minigpt.io.store import write_atomically
from minigpt.recipe import CONFIG_FILE
from minigpt.training.job import CHECKPOINTS, TrainingJob, read_job
from tasks.runs.files import (
    CORPUS_FILE,
    DIFF_FILE,
    FACTS_FILE,
    PLOT_FILES,
    PUBLISHED_FILE,
    REPORT_FILE,
    RESULT_FILE,
)
from tasks.runs.lease import no_owner, release_lease
from tasks.runs.run import Run
from tasks.tracking.client import StoreError
from tasks.tracking.metrics import MetricPoints, final_points
from tasks.tracking.read import status_in_mlflow, stored_files
from tasks.tracking.write import (
    DECISION_TAG,
    DIAGNOSIS_TAG,
    ERROR_TAG,
    STATUS_TAG,
    Point,
    attach_to_mlflow,
    keep_checkpoint,
    keep_file,
    log_dataset,
    send_points,
    set_status,
)

log = logging.getLogger(__name__)

MLFLOW_STATUS = {"completed": "FINISHED", "stopped_early": "FINISHED", "diverged": "FAILED"}
# After a failure the store is left in peace for a while, each time twice as long.
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0
# Held while a run's folder is sent.
PUBLISH_LOCK = ".publishing.lock"


class CurveSender:
    """Sends a journal's records as they come; what the store does not take waits for a better time."""

    def __init__(self, run: Run, job: TrainingJob) -> None:
        self._run, self._curves = run, MetricPoints(job)
        self._waiting: list[Point] = []
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._next_try = 0.0

    def send(self, records: Iterable[Record]) -> None:
        self._waiting += [point for record in records for point in self._curves.points(record)]
        if self._waiting and not self._run.tracking.offline and time.monotonic() >= self._next_try:
            self._try()

    def _try(self) -> None:
        try:
            send_points(self._run, self._waiting)
        except StoreError as error:
            self._next_try = time.monotonic() + self._pause_seconds
            self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
            log.warning("%s; the training goes on, and what is missing is sent later", error)
        else:
            self._waiting, self._pause_seconds = [], FIRST_PAUSE_SECONDS

    @property
    def sent_all(self) -> bool:
        return not self._waiting


def publish_opening(run: Run) -> None:
    """What a rerun needs, so that it can be seen from the first step on."""
    facts = run.facts()
    log_dataset(run, facts["corpus"], facts["tokens"])
    kept = stored_files(run)
    for name in (CONFIG_FILE, FACTS_FILE, CORPUS_FILE, DIFF_FILE):
        if name not in kept and (run.folder / name).exists():
            keep_file(run, run.folder / name)


def publish_run(run: Run, curve: bool = True, again: bool = False, timeout_seconds: float = -1) -> None:
    """Give MLflow all that the folder of a run that nobody writes holds; doing so again changes nothing.

    `curve` is false for a run whose Follower has sent it already, `again` true for one that MLflow may have lost.
    Raises StoreError, and filelock's Timeout if another process sends the run for longer than that; -1 waits for it.
    """
    with FileLock(run.folder / PUBLISH_LOCK, timeout=timeout_seconds):
        if run.is_published() and not again:  # by the process that was waited for
            return
        run = attach_to_mlflow(run)
        publish_opening(run)
        records = read_journal(run.folder / JOURNAL)
        if curve and records:
            curves = MetricPoints(read_job(run.folder))
            send_points(run, [point for record in records for point in curves.points(record)])
        if (result := run.result()) is None:
            _tell_end_unheard(run)
            return
        _publish_end(run, result, records[-1]["time_ms"] if records else run.start_time_ms)
        # Last, for they are the largest by far: a store that cannot take them has all the rest.
        for role in ("best", "last"):
            _publish_checkpoint(run, role, records, result)
        write_atomically(run.folder / PUBLISHED_FILE, b"")


def _publish_end(run: Run, result: Mapping[str, Any], last_ms: int) -> None:
    for name in (RESULT_FILE, REPORT_FILE, JOURNAL, *PLOT_FILES):
        keep_file(run, run.folder / name)
    send_points(run, final_points(result, last_ms))
    tags = {
        "minigpt.words": " ".join(result["words"]),
        "minigpt.weights_sha256": result["weights_sha256"],
        "minigpt.curve_sha256": result["curve_sha256"],
        "minigpt.overfitting_since_step": str(result["overfitting_since_step"]),
        DIAGNOSIS_TAG: result.get("diagnosis", ""),
        **({DECISION_TAG: held_out["decision"]} if (held_out := result.get("held_out")) else {}),
    }
    ended_ms = (run.folder / RESULT_FILE).stat().st_mtime_ns // 1_000_000
    set_status(run, MLFLOW_STATUS[result["status"]], result["status"], tags, ended_ms)


def _tell_end_unheard(run: Run) -> None:
    """Of a run that was stopped, or failed, while nobody asked MLflow or it could not be reached."""
    with no_owner(run.folder) as free:
        noted, told = run.tags.get(STATUS_TAG), status_in_mlflow(run)
        if free and (told == "RUNNING" or (noted == "failed" and told != "FAILED")):
            error = {key: value for key, value in run.tags.items() if key == ERROR_TAG}
            mlflow_status, status = ("FAILED", "failed") if noted == "failed" else ("KILLED", "interrupted")
            set_status(run, mlflow_status, status, error, run.last_ms())


def _publish_checkpoint(run: Run, role: str, records: Iterable[Record], result: Mapping[str, Any]) -> None:
    """With the losses that the checkpoint was measured with: the last one behind the end, the best in training."""
    folder = newest_intact(run.folder / CHECKPOINTS, role)
    if folder is None:
        return
    step = step_of(folder)
    last = {result["steps"]: result} if result["status"] != "diverged" else {}  # when it is of older weights
    measured = {record["step"]: record for record in of_kind(records, "evaluation")} | last
    losses = {side: measured[step][f"{side}_loss"] for side in ("train", "val")} if step in measured else {}
    metrics = {f"checkpoint/{role}_{side}_loss": loss for side, loss in losses.items()}
    if losses:
        metrics[f"checkpoint/{role}_perplexity"] = perplexity(losses["val"])
    keep_checkpoint(run, folder, role, metrics)


def publish_if_possible(run: Run, curve: bool) -> None:
    """The same at the end of a run, which a store that fails does not undo."""
    if run.tracking.offline:
        log.warning("run %s is not in MLflow; `minigpt sync %s` sends it", run.run_id, run.run_id[:12])
        return
    try:
        publish_run(run, curve)
    except StoreError as error:
        log.warning("%s; `minigpt sync %s` sends what is missing", error, run.run_id[:12])


@contextlib.contextmanager
def closing_run(run: Run) -> Iterator[None]:
    """Leave no run open that is not running: an error fails it, an interruption kills it.

    A run whose result is written has ended as that says, whatever comes behind it.
    """
    try:
        yield
    except BaseException as error:
        if run.result() is not None:
            release_lease(run.folder)
            raise
        failed = isinstance(error, Exception)
        told = report_status(
            run,
            "FAILED" if failed else "KILLED",
            "failed" if failed else "interrupted",
            {ERROR_TAG: str(error)} if failed else {},
        )
        if told:
            release_lease(run.folder)
        raise


def report_status(
    run: Run, mlflow_status: str, status: str, tags: Mapping[str, str], ended_ms: int | None = None
) -> bool:
    """Say so in MLflow; false if it cannot be reached. The folder notes it, for whoever sends or lists the run."""
    with contextlib.suppress(OSError):  # of a full disk, which may be what stopped the run
        replace(run, tags={**run.tags, STATUS_TAG: status, **tags}).save()
    if not run.is_asked_of_mlflow:
        return True
    try:
        set_status(run, mlflow_status, status, tags, ended_ms)
    except StoreError:
        return False
    return True
