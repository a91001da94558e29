"""The folders of a run's checkpoints: names, integrity and retention. Loads without torch."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from minigpt.errors import InputError
from minigpt.io.records import CheckpointRecord, Record, of_kind
from minigpt.io.store import MANIFEST, read_folder
from minigpt.recipe import CONFIG_FILE

STATE = "state"


def checkpoint_folder(checkpoints: Path, prefix: str, step: int) -> Path:
    """The folder of one checkpoint: `last` continues a run, `best` holds the weights of the lowest validation loss."""
    return checkpoints / f"{prefix}-{step:07d}"


def step_of(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def trained_steps(folder: Path) -> int:
    """Training steps of a checkpoint's weights, from its manifest and not from its name."""
    steps: int = json.loads((folder / MANIFEST).read_bytes())[STATE]["step"]
    return steps


def written_checkpoints(checkpoints: Path, prefix: str) -> list[Path]:
    """Checkpoint folders with this prefix in the order of their steps, intact or not."""
    found = (path for path in checkpoints.glob(f"{prefix}-*") if re.fullmatch(rf"{prefix}-\d+", path.name))
    return sorted(found, key=step_of)


def newest_intact(checkpoints: Path, prefix: str) -> Path | None:
    """The newest intact checkpoint with this prefix; damaged ones are skipped."""
    return next((folder for folder in reversed(written_checkpoints(checkpoints, prefix)) if is_intact(folder)), None)


def is_intact(folder: Path) -> bool:
    """True if every file matches its digest, and the folder is named after the step whose weights it holds."""
    manifest = read_folder(folder)
    return manifest is not None and manifest.get(STATE, {}).get("step", step_of(folder)) == step_of(folder)


def newest_journalled(records: Iterable[Record], prefix: str) -> str | None:
    """The name of the newest checkpoint with this prefix in the journal, which no run deletes."""
    names = [saved.name for saved in of_kind(records, CheckpointRecord) if saved.name.startswith(f"{prefix}-")]
    return max(names, key=lambda name: step_of(Path(name)), default=None)


def checkpoint_to_resume(checkpoints: Path, saved: Iterable[str]) -> tuple[Path | None, list[str]]:
    """The newest intact full checkpoint, and the names of newer ones that are damaged or missing.

    `saved` names all checkpoints ever written: only a run without any may begin at step 0. Raises InputError if all
    are damaged or missing.
    """
    folder = newest_intact(checkpoints, "last")
    last = step_of(folder) if folder else 0
    known = {checkpoints / name for name in saved if name.startswith("last-")} | set(
        written_checkpoints(checkpoints, "last")
    )
    damaged = sorted(path.name for path in known if step_of(path) > last)
    if damaged and not folder:
        raise InputError(
            f"no checkpoint in {checkpoints} is intact, the newest was {damaged[-1]}; put one back from a copy, or "
            f"start a new run: `minigpt run {checkpoints.parent / CONFIG_FILE}`"
        )
    return folder, damaged


def superseded_checkpoints(folder: Path, prefix: str, kept: int, keep_every_steps: int | None = None) -> list[Path]:
    """Checkpoints older than `folder` to delete: `kept` remain, and so do those at multiples of keep_every_steps.

    Raises OSError if any would be deleted and `folder` is not intact.
    """
    older = [path for path in written_checkpoints(folder.parent, prefix) if step_of(path) < step_of(folder)]
    surplus = older[: max(0, len(older) - (kept - 1))]
    surplus = [path for path in surplus if keep_every_steps is None or step_of(path) % keep_every_steps]
    if surplus and not is_intact(folder):
        raise OSError(f"the checkpoint {folder} does not read back as written; check the disk")
    return surplus
