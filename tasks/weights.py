"""The model that a tracked run made."""

import logging
from pathlib import Path

from minigpt import checkpoint
from minigpt.job import CHECKPOINTS
from tasks import tracked
from tasks.runs import RESULT, Run

log = logging.getLogger(__name__)


def checkpoint_of(run: Run, role: str) -> Path:
    """Of a run of this home the newest, which a run that has not ended has as well; else the one that MLflow keeps."""
    here = checkpoint.written(run.folder / CHECKPOINTS, role)
    if not here:
        return tracked.artifact(run, f"checkpoints/{role}")
    if checkpoint.step_of(here[-1]) == 0:
        log.warning(
            "%s of run %s holds the untrained weights: none that were measured are better", role, run.run_id[:12]
        )
    elif not (run.folder / RESULT).exists():
        log.warning("run %s has not ended: %s is what it has so far", run.run_id[:12], here[-1].name)
    return here[-1]
