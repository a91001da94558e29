"""Scheduled runs that failed, for whoever lists the runs: most fail before there is a run to list."""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from minigpt.errors import on_one_line
from tasks import notes

KIND = "failed"


def note(name: str, error: Exception) -> None:
    """Count one more failure of the schedule of this name."""
    before = _noted(name)
    count = before["count"] + 1 if before else 1
    with suppress(OSError):  # of a full disk, which may be what it failed by
        notes.write(KIND, name, count=count, time=time.strftime("%Y-%m-%d %H:%M:%S"), error=on_one_line(error))


def forget(name: str) -> None:
    """The schedule works again: a run of its own has come to its end."""
    with suppress(OSError):
        notes.file(KIND, name).unlink(missing_ok=True)


def told() -> Iterator[str]:
    """A sentence for each schedule whose last run failed."""
    for name in notes.names(KIND):
        if failed := _noted(name):
            runs = "The last scheduled run" if failed["count"] == 1 else f"The last {failed['count']:,} scheduled runs"
            noted = f"noted in {notes.file(KIND, name)} until one works"
            yield f"{runs} of {name} failed, at {failed['time']} ({noted}): {failed['error']}"


def _noted(name: str) -> dict[str, Any] | None:
    return notes.read(KIND, name, count=int, time=str, error=str)
