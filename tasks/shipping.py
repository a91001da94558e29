"""Which run of its name the next one is measured against: the last that was to be shipped, or that a person shipped."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from minigpt.errors import InputError
from minigpt.store import write_whole
from tasks.home import home
from tasks.runs import Run, run_here, runs_here

PREFIX = "shipped-"


def run_to_beat(run: Run) -> Run | None:
    """Of the other runs of this name the last that was to be shipped, else the last that ended well and was not judged.

    InputError where a later one was to be shipped that is not here.
    """
    others = [other for other in runs_here() if _name(other) == _name(run) and other.run_id != run.run_id]
    judged = [(judgement, other) for other in others if (judgement := _judgement(other))]
    shipped = [(judgement["time_ms"], other) for judgement, other in judged if not judgement["objection"]]
    last_ms, last = max(shipped, key=lambda found: found[0], default=(0, None))
    noted_ms, noted = _noted(note_file(run))
    if noted_ms > last_ms and noted != run.run_id:
        by_hand = next((other for other in others if other.run_id == noted and other.has_ended), None)
        if by_hand is None:
            raise InputError(
                f"run {noted}, the last of {_name(run)} that was to be shipped, is gone or damaged; put it back from "
                f"a copy, name another by `minigpt ship`, or delete {note_file(run)} to go on without it"
            )
        return by_hand
    if last is not None:
        return last
    return next((other for other in others if _may_have_been_shipped(other)), None)


def _may_have_been_shipped(run: Run) -> bool:
    """Before there was a held-out text: it learnt something, and did not diverge."""
    result = run.readable_result()
    if result is None or run.is_rerun or result.get("held_out"):
        return False
    return result["status"] != "diverged" and bool(result.get("best_step", 1))


def _judgement(run: Run) -> dict[str, Any] | None:
    return (run.readable_result() or {}).get("held_out")


def _name(run: Run) -> str:
    return run.params.get("name", "")


def without(run: Run) -> str:
    """The end of a sentence, for someone whose run to beat is damaged."""
    return f", name another by `minigpt ship`, or delete {run.folder} and {note_file(run)} to go on without it"


def note_file(run: Run) -> Path:
    """Tells which run of the name was the last to be shipped, by a person or the text, should its folder go."""
    return home() / f"{PREFIX}{_name(run)}.json"


def note(run: Run, time_ms: int) -> None:
    """From then on it is the one to beat."""
    write_whole(note_file(run), json.dumps({"run_id": run.run_id, "time_ms": time_ms}).encode())


def _noted(path: Path) -> tuple[int, str]:
    """When, and which; neither where nothing is noted, or it is damaged."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        noted = json.loads(path.read_bytes())
        return int(noted["time_ms"]), str(noted["run_id"])
    return 0, ""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def told() -> Iterator[str]:
    """A sentence for each name of which a run was to be shipped."""
    for path in sorted(home().glob(f"{PREFIX}*.json")):
        shipped_ms, run_id = _noted(path)
        if run_id:
            day = time.strftime("%Y-%m-%d %H:%M", time.localtime(shipped_ms / 1000))
            gone = "" if (run := run_here(run_id)) and run.has_ended else "; it is gone or damaged"
            yield f"Of {path.stem.removeprefix(PREFIX)}, {run_id[:12]} is the run to beat since {day}{gone}."
