"""The model that a tracked run made."""

from pathlib import Path

from minigpt import checkpoint
from minigpt.job import CHECKPOINTS
from tasks import tracking
from tasks.runs import Run


def checkpoint_of(run: Run, role: str) -> Path:
    """Of a run of this home the newest, which a run that has not ended has as well; else the one that MLflow keeps."""
    here = checkpoint.written(run.folder / CHECKPOINTS, role)
    return here[-1] if here else tracking.artifact(run, f"checkpoints/{role}")
