"""Which run of its name the next one is measured against: the last that was to be shipped, or that a person shipped."""

import time
from collections.abc import Iterable, Iterator

from minigpt.errors import InputError
from tasks.home.notes import note_file, noted_names, read_note, write_note
from tasks.runs.ids import shortened
from tasks.runs.result import Judgement
from tasks.runs.run import Run, runs_here

CHAMPION_NOTE = "shipped"


def champion_for(run: Run) -> Run | None:
    """Of the other runs of this name the last that was to be shipped, else the last that ended well and was not judged.

    InputError where a later one was to be shipped that is not here.
    """
    name = _name(run)
    others = [other for other in runs_here() if _name(other) == name and other.run_id != run.run_id]
    shipped = [when for when in _shipped(name, others) if when[1] != run.run_id]
    if not shipped:
        return next((other for other in others if _may_have_been_shipped(other)), None)
    _, last = max(shipped)
    if (found := _ended(last, others)) is None:
        raise InputError(
            f"run {last}, the last of {name} that was to be shipped, is gone or damaged; put it back from "
            f"a copy, name another by `minigpt ship`, or delete {note_file(CHAMPION_NOTE, name)} to go on without it"
        )
    return found


def _shipped(name: str, runs: Iterable[Run]) -> Iterator[tuple[int, str]]:
    """When which run was to be shipped: by the text, of these runs of the name, and what was noted last."""
    for run in runs:
        if (judgement := _judgement(run)) and not judgement.objection:
            yield judgement.time_ms, run.run_id
    if noted := _noted(name):
        yield noted


def _ended(run_id: str, runs: Iterable[Run]) -> Run | None:
    return next((run for run in runs if run.run_id == run_id and run.has_ended), None)


def _may_have_been_shipped(run: Run) -> bool:
    """Before there was a held-out text: it learnt something, and did not diverge."""
    result = run.readable_result()
    if result is None or run.is_rerun or result.held_out:
        return False
    return result.status != "diverged" and result.best_step > 0


def _judgement(run: Run) -> Judgement | None:
    result = run.readable_result()
    return result.held_out if result else None


def _name(run: Run) -> str:
    return run.params.get("name", "")


def way_out_without(run: Run) -> str:
    """The end of a sentence, for someone whose run to beat is damaged."""
    judgement, noted = _judgement(run), str(note_file(CHAMPION_NOTE, _name(run)))
    by_hand_alone = judgement is not None and bool(judgement.objection)
    return (
        f", name another by `minigpt ship`, or delete {noted if by_hand_alone else f'{run.folder} and {noted}'} to go "
        "on without it"
    )


def record_champion(run: Run, time_ms: int) -> None:
    """From then on it is the one to beat, also should its folder go, unless a later one is noted."""
    if (noted := _noted(_name(run))) is None or noted[0] < time_ms:
        write_note(CHAMPION_NOTE, _name(run), run_id=run.run_id, time_ms=time_ms)


def _noted(name: str) -> tuple[int, str] | None:
    """When, and which."""
    noted = read_note(CHAMPION_NOTE, name, time_ms=int, run_id=str)
    return (noted["time_ms"], noted["run_id"]) if noted else None


def champion_sentences() -> Iterator[str]:
    """A sentence for each name of which a run was to be shipped."""
    runs: dict[str, list[Run]] = {name: [] for name in noted_names(CHAMPION_NOTE)}
    for run in runs_here():
        runs.setdefault(_name(run), []).append(run)
    for name in sorted(runs):
        if shipped := max(_shipped(name, runs[name]), default=None):
            time_ms, run_id = shipped
            since = time.strftime("%Y-%m-%d %H:%M", time.localtime(time_ms / 1000))
            gone = "" if _ended(run_id, runs[name]) else "; it is gone or damaged"
            yield f"Of {name}, {shortened(run_id)} is the run to beat since {since}{gone}."
