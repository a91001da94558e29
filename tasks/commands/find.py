"""The table of all runs and their status: the data in MLflow, corrected by the folders of this home."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import pandas as pd

from minigpt.errors import InputError
from minigpt.io.journal import JOURNAL, loss_curve, read_journal
from tasks.runs.lease import is_alive, is_owned
from tasks.runs.result import Result
from tasks.runs.run import Run, load_run
from tasks.tracking.client import local_path
from tasks.tracking.read import TrackedRun
from tasks.tracking.tracker import Tracker
from tasks.tracking.write import DECISION_TAG, DIAGNOSIS_TAG, OWNER_TAG, STATUS_TAG

log = logging.getLogger(__name__)

# The tags of provenance other than package versions.
FACT_TAGS = {
    "corpus_bytes": "minigpt.corpus_bytes",
    "code_sha256": "minigpt.code_sha256",
    "git_commit": "mlflow.source.git.commit",
    "git_dirty": "minigpt.git_dirty",
    "cpu_class": "minigpt.cpu_class",
}


def runs_table(tracker: Tracker, run_ids: Sequence[str] | None = None) -> pd.DataFrame:
    """Return a table with one row for each run, newest first, including runs that are not in MLflow yet.

    Besides run_id, name, status, decision, diagnosis, started and steps it has columns params.*, facts.* and metrics.*.
    With `run_ids` it has these runs only, in this order.
    """
    wanted = [run for run in tracker.known_runs() if run_ids is None or run.run_id in run_ids]
    table = pd.DataFrame([_tracked_row(run) if isinstance(run, TrackedRun) else _row_here(run) for run in wanted])
    return table if run_ids is None or table.empty else table.set_index("run_id").loc[list(run_ids)].reset_index()


def _started(run: Run) -> pd.Timestamp:
    here = datetime.fromtimestamp(run.start_time_ms / 1000).astimezone().tzinfo
    return pd.Timestamp(run.start_time_ms, unit="ms", tz="UTC").round("s").tz_convert(here)


def _tracked_row(run: TrackedRun) -> dict[str, Any]:
    here = _run_here(run)
    result = _result(here) if here else None
    tracked = {"decision": run.tags.get(DECISION_TAG), "diagnosis": run.tags.get(DIAGNOSIS_TAG)}
    verdicts = _verdicts(result) | {name: words for name, words in tracked.items() if words}
    row = _row(run, _status(run, here, result), verdicts) | _metrics(_results(result) | run.metrics)
    return row | {"steps": _steps(here, result) if here else None}


def _status(run: TrackedRun, here: Run | None, result: Result | None) -> str:
    """Return the status that MLflow has, corrected by the run's folder or its process if that status is "running"."""
    status = run.tags.get(STATUS_TAG, run.mlflow_status)
    if here is None:
        if status == "running":
            return status if is_alive(json.loads(run.tags.get(OWNER_TAG, "{}"))) else "dead"
        return f"{status}, folder gone" if _is_gone(run) else status
    if status == "running":
        return _status_here(here, result)
    sent = here.is_published() or is_owned(here.folder) or result is None
    return status if sent else f"{status}, not synced"


def _is_gone(run: TrackedRun) -> bool:
    """True if the run's files were in a local folder that no longer exists."""
    place = local_path(run.artifact_uri)
    with suppress(PermissionError):  # the folder is in another user's home
        return place is not None and not place.parent.exists()
    return False


def _run_here(run: TrackedRun) -> Run | None:
    """Return the run from this home; None if it is not here or cannot be read."""
    with suppress(InputError):
        return load_run(run.folder)
    return None


def _result(run: Run) -> Result | None:
    """Return the run's result; None if it has not ended or the result cannot be read."""
    try:
        return run.result()
    except InputError as error:
        log.warning("%s", error)
        return None


def _status_here(run: Run, result: Result | None) -> str:
    if is_owned(run.folder):
        return "running"
    if result is None:
        noted = run.tags.get(STATUS_TAG, "running")
        return "dead" if noted == "running" else noted
    return result.status if run.is_published() else f"{result.status}, not synced"


def _row_here(run: Run) -> dict[str, Any]:
    result = _result(run)
    row = _row(run, _status_here(run, result), _verdicts(result)) | _metrics(_results(result))
    return row | {"steps": _steps(run, result)}


def _verdicts(result: Result | None) -> dict[str, str]:
    """Return the decision by the held-out text and the diagnosis, each "" if there is none."""
    decision = result.held_out.decision if result and result.held_out else ""
    return {"decision": decision, "diagnosis": result.diagnosis if result else ""}


def _metrics(values: Mapping[str, float]) -> dict[str, float]:
    return {f"metrics.{key}": value for key, value in values.items()}


def _row(run: Run, status: str, verdicts: Mapping[str, str]) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.name,
        "status": status,
        **verdicts,
        "started": _started(run),
        **{f"params.{key}": value for key, value in run.params.items()},
        **{f"facts.{key}": value for key, value in _facts(run.tags).items()},
    }


def _facts(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the run's provenance besides its hyperparameters: package versions, code, corpus size and machine."""
    packages: dict[str, str] = json.loads(tags.get("minigpt.packages", "{}"))
    return packages | {name: tags[tag] for name, tag in FACT_TAGS.items() if tag in tags}


def _steps(run: Run, result: Result | None) -> int | None:
    """Return the number of training steps so far; None if the run's journal is damaged."""
    if result is not None:
        return result.steps
    with suppress(InputError):
        return len(loss_curve(read_journal(run.folder / JOURNAL)))
    return None


def _results(result: Result | None) -> dict[str, float]:
    """Return the results under their names in MLflow; empty before the run has ended."""
    if result is None:
        return {}
    return result.metrics() | {
        "best/val_loss": result.best_val_loss,
        "best/bits_per_byte": result.best_bits_per_byte,
        "best/step": result.best_step,
    }
