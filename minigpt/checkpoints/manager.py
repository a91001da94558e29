"""Checkpoints of a running training: tensors are written at once, and flushed to the disk beside the next steps.

Written data lies in the system's memory until the disk has it, so nothing is copied, and flush and digests cost the
training little time. One checkpoint is in progress at a time: the previous one is complete before the next begins, so
a full checkpoint never refers to a best one that a kill could still undo. A superseded checkpoint is deleted just
before the next one is written, which can then reuse its memory pages.
"""

import os
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from minigpt.checkpoints.folders import checkpoint_folder, is_intact, newest_intact, step_of, superseded_checkpoints
from minigpt.checkpoints.format import begin_checkpoint
from minigpt.io.journal import Journal
from minigpt.io.records import CheckpointRecord
from minigpt.io.store import finish_folder
from minigpt.model.gpt import GPT
from minigpt.runtime.startup import bounded_start

# Lowest priority, so that flush and digests take little time from the steps beside them.
NICENESS = 19


def _give_way() -> None:
    if sys.platform == "linux":  # elsewhere niceness is the whole process's
        os.nice(NICENESS)


class CheckpointManager:
    """Writes the checkpoints of one run, and a record of each into its journal."""

    def __init__(
        self,
        checkpoints: Path,
        tokenizer: Path,
        journal: Journal,
        saved: Collection[str],
        kept: int = 2,
        keep_every_steps: int | None = None,
    ) -> None:
        """`saved` names the checkpoints that the journal already has.

        The newest `kept` full checkpoints stay, and those at multiples of keep_every_steps.
        """
        self._checkpoints, self._tokenizer = checkpoints, tokenizer
        self._journal, self._saved = journal, saved
        self._kept, self._keep_every_steps = kept, keep_every_steps
        self._disk = ThreadPoolExecutor(max_workers=1, initializer=_give_way)
        with bounded_start():
            self._disk.submit(int)
        self._pending: tuple[Path, Future[list[Path]]] | None = None
        # A killed run may have left superseded checkpoints.
        newest = (newest_intact(checkpoints, prefix) for prefix in ("last", "best"))
        self._superseded = [path for folder in newest if folder for path in self._superseded_by(folder)]

    def _superseded_by(self, folder: Path) -> list[Path]:
        if folder.name.startswith("best"):
            return superseded_checkpoints(folder, "best", kept=1)
        return superseded_checkpoints(folder, "last", self._kept, self._keep_every_steps)

    def save(
        self,
        prefix: str,
        model: GPT,
        facts: Mapping[str, Any],
        optimizers: Sequence[torch.optim.Optimizer] = (),
    ) -> None:
        """Write the checkpoint of the step that the facts name, `best` or `last`."""
        self.finish()
        self._journal.sync()
        folder = checkpoint_folder(self._checkpoints, prefix, facts["step"])
        intact = is_intact(folder)  # an earlier process of this run may have written it
        filled = None if intact else begin_checkpoint(folder, model, self._tokenizer, facts, optimizers)

        def end() -> list[Path]:
            if filled is not None:
                finish_folder(filled)
            return self._superseded_by(folder)

        self._pending = folder, self._disk.submit(end)

    def note(self) -> None:
        """Journal the pending checkpoint if it is complete. Raises the error that its writing failed with."""
        if self._pending is not None and self._pending[1].done():
            (folder, ended), self._pending = self._pending, None
            self._superseded = ended.result()
            if folder.name not in self._saved:
                self._journal.append(CheckpointRecord(step=step_of(folder), name=folder.name))

    def finish(self) -> None:
        """Wait until the pending checkpoint is complete, then delete the checkpoints that it supersedes."""
        if self._pending is not None:
            wait([self._pending[1]])
        self.note()
        for path in self._superseded:
            with suppress(FileNotFoundError):  # someone made room
                shutil.rmtree(path)
        self._superseded = []
