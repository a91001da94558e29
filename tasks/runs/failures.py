"""Failures of scheduled runs, noted in the home because most of them happen before a run exists."""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from minigpt.errors import on_one_line
from tasks.home.notes import note_file, noted_names, read_note, write_note

FAILURE_NOTE = "failed"


def record_failure(name: str, error: Exception) -> None:
    """Count one more failure of the schedule with this name, and note its time and error."""
    before = _noted(name)
    count = before["count"] + 1 if before else 1
    with suppress(OSError):  # a full disk may be why the run failed
        write_note(FAILURE_NOTE, name, count=count, time=time.strftime("%Y-%m-%d %H:%M:%S"), error=on_one_line(error))


def forget_failures(name: str) -> None:
    """Delete the note of a schedule's failures, because one of its runs has succeeded."""
    with suppress(OSError):
        note_file(FAILURE_NOTE, name).unlink(missing_ok=True)


def failure_sentences() -> Iterator[str]:
    """Yield one sentence for each schedule whose last run failed."""
    for name in noted_names(FAILURE_NOTE):
        if failed := _noted(name):
            runs = "The last scheduled run" if failed["count"] == 1 else f"The last {failed['count']:,} scheduled runs"
            noted = f"noted in {note_file(FAILURE_NOTE, name)} until one works"
            yield f"{runs} of {name} failed, at {failed['time']} ({noted}): {failed['error']}"


def _noted(name: str) -> dict[str, Any] | None:
    return read_note(FAILURE_NOTE, name, count=int, time=str, error=str)
