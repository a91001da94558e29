"""Scheduled runs that failed, for whoever lists the runs: most fail before there is a run to list."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from minigpt.errors import on_one_line
from minigpt.store import write_whole
from tasks.home import home

PREFIX = "failed-"


def _file(name: str) -> Path:
    return home() / f"{PREFIX}{name}.json"


def note(name: str, error: Exception) -> None:
    """Count one more failure of the schedule of this name."""
    before = _read(_file(name))
    count = before["count"] + 1 if before else 1
    failed = {"count": count, "time": time.strftime("%Y-%m-%d %H:%M:%S"), "error": on_one_line(error)}
    with suppress(OSError):  # of a full disk, which may be what it failed by
        write_whole(_file(name), json.dumps(failed).encode())


def forget(name: str) -> None:
    """The schedule works again: a run of its own has come to its end."""
    with suppress(OSError):
        _file(name).unlink(missing_ok=True)


def told() -> Iterator[str]:
    """A sentence for each schedule whose last run failed."""
    for path in sorted(home().glob(f"{PREFIX}*.json")):
        if failed := _read(path):
            name = path.stem.removeprefix(PREFIX)
            runs = "The last scheduled run" if failed["count"] == 1 else f"The last {failed['count']:,} scheduled runs"
            noted = f"noted in {path} until one works"
            yield f"{runs} of {name} failed, at {failed['time']} ({noted}): {failed['error']}"


def _read(path: Path) -> dict[str, Any] | None:
    """None if it is not there or damaged."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        failed = json.loads(path.read_bytes())
        return {"count": int(failed["count"]), "time": str(failed["time"]), "error": str(failed["error"])}
    return None
