"""Which run a person means."""

from collections.abc import Sequence

from minigpt.errors import InputError
from tasks.home.folders import runs_folder
from tasks.runs.run import Run, runs_here


def match_run(text: str, runs: Sequence[Run]) -> Run | None:
    """Of runs, newest first, the one that a person means: `latest`, an id, a name, or the beginning of an id.

    `latest`, and a config's name, is the newest that has ended and repeats no other, else the newest of all.
    """
    if text != "latest" and (exact := [run for run in runs if text in (run.run_id, run.mlflow_id, run.name)]):
        return exact[0]
    if likely := [run for run in runs if text in ("latest", run.params.get("name"))]:
        return next((run for run in likely if run.has_ended and not run.is_rerun), likely[0])
    begin_so = [run for run in runs if run.run_id.startswith(text)]
    if len(begin_so) > 1:
        raise InputError(f"{len(begin_so)} runs have ids that begin with {text!r}; `minigpt runs` lists them")
    return begin_so[0] if begin_so else None


def find_local_run(text: str) -> Run:
    """The run of this home that is meant."""
    if (run := match_run(text, runs_here())) is None:
        raise InputError(
            f"there is no run with the id or name {text!r} in {runs_folder()}; `minigpt runs --offline` lists them"
        )
    return run
