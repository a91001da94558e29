"""Find the checkpoint of a tracked run, and promote a run by hand."""

import logging
from contextlib import suppress
from pathlib import Path

from minigpt.checkpoints.folders import newest_intact, newest_journalled, step_of, written_checkpoints
from minigpt.errors import InputError
from minigpt.io.journal import JOURNAL, read_journal
from minigpt.io.records import now_ms
from minigpt.training.job import CHECKPOINTS
from tasks.promotion.champion import record_champion
from tasks.runs.run import Run, way_out
from tasks.tracking.tracker import Tracker

log = logging.getLogger(__name__)


def checkpoint_of(run: Run, role: str, tracker: Tracker) -> Path:
    """Return the run's newest checkpoint of the role, "best" or "last", in this home, else the copy in MLflow.

    A run that has not ended may have one too. Raises InputError if no checkpoint is found.
    """
    here = written_checkpoints(run.folder / CHECKPOINTS, role)
    if not here:
        return tracker.fetch(run, f"checkpoints/{role}")
    if (saved := _saved(run, role)) and saved != here[-1].name:
        log.warning("%s of run %s is gone: %s is used instead", saved, run.short_id, here[-1].name)
    elif step_of(here[-1]) == 0:
        log.warning("%s of run %s holds the untrained weights: no later evaluation was better", role, run.short_id)
    elif not run.has_result:
        log.warning("run %s has not ended: %s is its newest checkpoint so far", run.short_id, here[-1].name)
    return here[-1]


def intact_best(run: Run, other_way_out: str = "") -> Path:
    """Return the run's newest intact best checkpoint in this home; InputError if it has none."""
    if (folder := newest_intact(run.folder / CHECKPOINTS, "best")) is None:
        raise InputError(f"run {run.run_id} has no intact best checkpoint; put it back from a copy{other_way_out}")
    return folder


def ship_run(run: Run) -> str:
    """Make a run of this home the champion of its name, whatever its judgement; return a sentence that says so.

    Raises InputError if the run has no result or no intact best checkpoint.
    """
    if run.result() is None:
        raise InputError(f"run {run.run_id} has no result, so it cannot be shipped; {way_out(run)}")
    best, name = intact_best(run), run.params["name"]
    record_champion(run, now_ms())
    return f"{best.name} of {run.short_id} is now the champion of {name}: later runs have to beat it."


def _saved(run: Run, role: str) -> str | None:
    """Return the name of the newest checkpoint in the run's journal; None if the journal cannot be read."""
    with suppress(InputError):
        return newest_journalled(read_journal(run.folder / JOURNAL), role)
    return None
