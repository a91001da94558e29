"""Send a run's folder to MLflow: provenance at the start, the rest at the end, and again with `minigpt sync`.

The folder is the source of truth. A failing store never stops a run: what it did not take is sent later.
"""

import logging
from collections.abc import Iterable

from filelock import FileLock

from minigpt.checkpoints.folders import newest_intact, step_of
from minigpt.evaluation.perplexity import perplexity
from minigpt.io.journal import JOURNAL, read_journal
from minigpt.io.records import EvaluationRecord, Record, of_kind
from minigpt.io.store import write_atomically
from minigpt.recipe import CONFIG_FILE
from minigpt.training.job import CHECKPOINTS, read_job
from tasks.runs.files import (
    CORPUS_FILE,
    DIFF_FILE,
    FACTS_FILE,
    PLOT_FILES,
    PUBLISHED_FILE,
    REPORT_FILE,
    RESULT_FILE,
)
from tasks.runs.lease import no_owner
from tasks.runs.result import Result
from tasks.runs.run import Run
from tasks.tracking.metrics import final_points, journal_points
from tasks.tracking.read import status_in_mlflow, stored_files
from tasks.tracking.write import (
    DECISION_TAG,
    DIAGNOSIS_TAG,
    ERROR_TAG,
    STATUS_TAG,
    attach_to_mlflow,
    keep_checkpoint,
    keep_file,
    log_dataset,
    send_points,
    set_status,
)

log = logging.getLogger(__name__)

MLFLOW_STATUS = {"completed": "FINISHED", "stopped_early": "FINISHED", "diverged": "FAILED"}
# Held while a run's folder is sent.
PUBLISH_LOCK = ".publishing.lock"


def publish_opening(run: Run) -> None:
    """Send the files that a rerun needs, so that they are visible from the first step on."""
    log_dataset(run, run.facts())
    kept = stored_files(run)
    for name in (CONFIG_FILE, FACTS_FILE, CORPUS_FILE, DIFF_FILE):
        if name not in kept and (run.folder / name).exists():
            keep_file(run, run.folder / name)


def publish_run(run: Run, curve: bool = True, again: bool = False, timeout_seconds: float = -1) -> None:
    """Send everything in the folder of a run that no process writes any more. Sending twice changes nothing.

    `curve` is False if the curve was already sent during training. `again` is True to resend a run that MLflow may
    have lost. Raises StoreError, and filelock's Timeout if another process still sends the run after
    `timeout_seconds` (-1 waits without limit).
    """
    with FileLock(run.folder / PUBLISH_LOCK, timeout=timeout_seconds):
        if run.is_published() and not again:  # another process sent it while this one waited for the lock
            return
        run = attach_to_mlflow(run)
        publish_opening(run)
        records = read_journal(run.folder / JOURNAL)
        if curve and records:
            send_points(run, journal_points(records, read_job(run.folder)))
        if (result := run.result()) is None:
            _report_missed_end(run)
            return
        _publish_end(run, result, records[-1].time_ms if records else run.start_time_ms)
        # Checkpoints come last because they are by far the largest: a store that cannot take them has all the rest.
        for role in ("best", "last"):
            _publish_checkpoint(run, role, records, result)
        write_atomically(run.folder / PUBLISHED_FILE, b"")


def _publish_end(run: Run, result: Result, last_ms: int) -> None:
    for name in (RESULT_FILE, REPORT_FILE, JOURNAL, *PLOT_FILES):
        keep_file(run, run.folder / name)
    send_points(run, final_points(result, last_ms))
    tags = {
        "minigpt.words": " ".join(result.words),
        "minigpt.weights_sha256": result.weights_sha256,
        "minigpt.curve_sha256": result.curve_sha256,
        "minigpt.overfitting_since_step": str(result.overfitting_since_step),
        DIAGNOSIS_TAG: result.diagnosis,
        **({DECISION_TAG: result.held_out.decision} if result.held_out else {}),
    }
    ended_ms = (run.folder / RESULT_FILE).stat().st_mtime_ns // 1_000_000
    set_status(run, MLFLOW_STATUS[result.status], result.status, tags, ended_ms)


def _report_missed_end(run: Run) -> None:
    """Set the status of a run that was stopped, or failed, while MLflow was offline or unreachable."""
    with no_owner(run.folder) as free:
        noted, reported = run.tags.get(STATUS_TAG), status_in_mlflow(run)
        if free and (reported == "RUNNING" or (noted == "failed" and reported != "FAILED")):
            error = {key: value for key, value in run.tags.items() if key == ERROR_TAG}
            mlflow_status, status = ("FAILED", "failed") if noted == "failed" else ("KILLED", "interrupted")
            set_status(run, mlflow_status, status, error, run.last_ms())


def _publish_checkpoint(run: Run, role: str, records: Iterable[Record], result: Result) -> None:
    """Send a checkpoint and its losses: the last one's are measured after training, the best one's during it."""
    folder = newest_intact(run.folder / CHECKPOINTS, role)
    if folder is None:
        return
    step = step_of(folder)
    measured = {record.step: (record.train_loss, record.val_loss) for record in of_kind(records, EvaluationRecord)}
    if result.status != "diverged":  # a diverged run's losses are those of older weights
        measured[result.steps] = (result.train_loss, result.val_loss)
    metrics = {}
    if step in measured:
        train_loss, val_loss = measured[step]
        metrics = {
            f"checkpoint/{role}_train_loss": train_loss,
            f"checkpoint/{role}_val_loss": val_loss,
            f"checkpoint/{role}_perplexity": perplexity(val_loss),
        }
    keep_checkpoint(run, folder, role, metrics)
