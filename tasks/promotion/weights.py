"""The model that a tracked run made, and the one that a person ships."""

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
    """Of a run of this home the newest, which a run that has not ended has as well; else the one that MLflow keeps."""
    here = written_checkpoints(run.folder / CHECKPOINTS, role)
    if not here:
        return tracker.fetch(run, f"checkpoints/{role}")
    if (saved := _saved(run, role)) and saved != here[-1].name:
        log.warning("%s of run %s is gone: this is %s", saved, run.short_id, here[-1].name)
    elif step_of(here[-1]) == 0:
        log.warning("%s of run %s holds the untrained weights: none that were measured are better", role, run.short_id)
    elif not run.has_result:
        log.warning("run %s has not ended: %s is what it has so far", run.short_id, here[-1].name)
    return here[-1]


def intact_best(run: Run, other_way_out: str = "") -> Path:
    """The newest whole best checkpoint here; InputError if there is none."""
    if (folder := newest_intact(run.folder / CHECKPOINTS, "best")) is None:
        raise InputError(f"run {run.run_id} has no whole best checkpoint; put it back from a copy{other_way_out}")
    return folder


def ship_run(run: Run) -> str:
    """Make the best weights of a run of this home those to beat, whatever a text said of them."""
    if run.result() is None:
        raise InputError(f"run {run.run_id} has no result to be shipped by; {way_out(run)}")
    best, name = intact_best(run), run.params["name"]
    record_champion(run, now_ms())
    return f"From now on {best.name} of {run.short_id} is what runs of {name} have to beat."


def _saved(run: Run, role: str) -> str | None:
    """The newest one that the run wrote, if its journal can be read."""
    with suppress(InputError):
        return newest_journalled(read_journal(run.folder / JOURNAL), role)
    return None
