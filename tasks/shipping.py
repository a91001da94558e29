"""Which run of its name the next one is measured against: the last that was to be shipped, or that a person shipped."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from minigpt.errors import InputError
from minigpt.store import write_whole
from tasks.home import home
from tasks.runs import Run, runs_here

PREFIX = "shipped-"


def run_to_beat(run: Run) -> Run | None:
    """Of the other runs of this name the last that was to be shipped, else the last that ended well and was not judged.

    InputError where a later one was to be shipped that is not here.
    """
    others = [other for other in runs_here() if _name(other) == _name(run) and other.run_id != run.run_id]
    shipped = [when for when in _shipped(_name(run), others) if when[1] != run.run_id]
    if not shipped:
        return next((other for other in others if _may_have_been_shipped(other)), None)
    _, last = max(shipped)
    if (found := next((other for other in others if other.run_id == last and other.has_ended), None)) is None:
        raise InputError(
            f"run {last}, the last of {_name(run)} that was to be shipped, is gone or damaged; put it back from "
            f"a copy, name another by `minigpt ship`, or delete {_note_file(_name(run))} to go on without it"
        )
    return found


def _shipped(name: str, runs: Iterable[Run]) -> Iterator[tuple[int, str]]:
    """When which run of the name was to be shipped: by the text, of these runs, and what was noted last."""
    for run in runs:
        judgement = _judgement(run)
        if _name(run) == name and judgement and not judgement["objection"]:
            yield judgement["time_ms"], run.run_id
    if noted := _noted(_note_file(name)):
        yield noted


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
    judgement, noted = _judgement(run), str(_note_file(_name(run)))
    by_hand_alone = judgement is not None and bool(judgement["objection"])
    return (
        f", name another by `minigpt ship`, or delete {noted if by_hand_alone else f'{run.folder} and {noted}'} to go "
        "on without it"
    )


def _note_file(name: str) -> Path:
    """Tells which run of the name was the last to be shipped, by a person or the text, should its folder go."""
    return home() / f"{PREFIX}{name}.json"


def note(run: Run, time_ms: int) -> None:
    """From then on it is the one to beat, unless a later one is noted."""
    path = _note_file(_name(run))
    if (noted := _noted(path)) is None or noted[0] < time_ms:
        write_whole(path, json.dumps({"run_id": run.run_id, "time_ms": time_ms}).encode())


def _noted(path: Path) -> tuple[int, str] | None:
    """When, and which; None where nothing is noted, or it is damaged."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        noted = json.loads(path.read_bytes())
        return int(noted["time_ms"]), str(noted["run_id"])
    return None


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def told() -> Iterator[str]:
    """A sentence for each name of which a run was to be shipped."""
    runs = runs_here()
    here = {run.run_id for run in runs if run.has_ended}
    names = {path.stem.removeprefix(PREFIX) for path in home().glob(f"{PREFIX}*.json")} | set(map(_name, runs))
    for name in sorted(names):
        if shipped := max(_shipped(name, runs), default=None):
            since = time.strftime("%Y-%m-%d %H:%M", time.localtime(shipped[0] / 1000))
            gone = "" if shipped[1] in here else "; it is gone or damaged"
            yield f"Of {name}, {shipped[1][:12]} is the run to beat since {since}{gone}."
