"""The champion of a name: the run promoted last, by its held-out text or by `minigpt ship`, which later runs must beat.

Promotions by a held-out text are in the results of the runs. A note in the home repeats the last promotion, so that a
champion whose folder was deleted is noticed.
"""

import time
from collections.abc import Iterable, Iterator

from minigpt.errors import InputError
from tasks.home.notes import note_file, noted_names, read_note, write_note
from tasks.runs.ids import shortened
from tasks.runs.result import Judgement
from tasks.runs.run import Run, runs_here

CHAMPION_NOTE = "shipped"


def champion_for(run: Run) -> Run | None:
    """Return the run promoted last among the other runs of this name.

    If no run was promoted, it is the newest that ended well without a judgement, or None. Raises InputError if the
    champion is deleted or damaged: a challenger measured against an older run could be worse than the champion.
    """
    name = _name(run)
    others = [other for other in runs_here() if _name(other) == name and other.run_id != run.run_id]
    promotions = [promotion for promotion in _promotions(name, others) if promotion[1] != run.run_id]
    if not promotions:
        return next((other for other in others if _ended_well_without_judgement(other)), None)
    _, last = max(promotions)
    if (found := _ended(last, others)) is None:
        raise InputError(
            f"run {last}, the champion of {name}, is gone or damaged; put it back from a copy, choose another with "
            f"`minigpt ship RUN`, or delete {note_file(CHAMPION_NOTE, name)} to continue without it"
        )
    return found


def _promotions(name: str, runs: Iterable[Run]) -> Iterator[tuple[int, str]]:
    """Yield (time_ms, run_id) of each promotion: those of these runs by their held-out text, and the noted one."""
    for run in runs:
        if (judgement := _judgement(run)) and not judgement.objection:
            yield judgement.time_ms, run.run_id
    if noted := _noted(name):
        yield noted


def _ended(run_id: str, runs: Iterable[Run]) -> Run | None:
    return next((run for run in runs if run.run_id == run_id and run.has_ended), None)


def _ended_well_without_judgement(run: Run) -> bool:
    """True if the run learnt something, did not diverge, is no rerun, and had no held-out text."""
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
    """The end of an error message about a damaged champion: how to choose another or continue without one."""
    judgement, noted = _judgement(run), str(note_file(CHAMPION_NOTE, _name(run)))
    only_by_hand = judgement is not None and bool(judgement.objection)
    return (
        f", choose another with `minigpt ship RUN`, or delete {noted if only_by_hand else f'{run.folder} and {noted}'} "
        "to continue without it"
    )


def record_champion(run: Run, time_ms: int) -> None:
    """Note the run as champion since `time_ms`, unless a later promotion is noted."""
    if (noted := _noted(_name(run))) is None or noted[0] < time_ms:
        write_note(CHAMPION_NOTE, _name(run), run_id=run.run_id, time_ms=time_ms)


def _noted(name: str) -> tuple[int, str] | None:
    """Return (time_ms, run_id) of the noted promotion, if any."""
    noted = read_note(CHAMPION_NOTE, name, time_ms=int, run_id=str)
    return (noted["time_ms"], noted["run_id"]) if noted else None


def champion_sentences() -> Iterator[str]:
    """Yield a sentence for each name that has a champion."""
    runs: dict[str, list[Run]] = {name: [] for name in noted_names(CHAMPION_NOTE)}
    for run in runs_here():
        runs.setdefault(_name(run), []).append(run)
    for name in sorted(runs):
        if last := max(_promotions(name, runs[name]), default=None):
            time_ms, run_id = last
            since = time.strftime("%Y-%m-%d %H:%M", time.localtime(time_ms / 1000))
            gone = "" if _ended(run_id, runs[name]) else "; it is gone or damaged"
            yield f"{shortened(run_id)} has been the champion of {name} since {since}{gone}."
