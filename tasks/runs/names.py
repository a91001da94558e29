"""Find the run that a person names on the command line."""

from collections.abc import Sequence

from minigpt.errors import InputError
from tasks.home.folders import runs_folder
from tasks.runs.run import Run, runs_here


def match_run(text: str, runs: Sequence[Run]) -> Run | None:
    """Find a run by `latest`, a full id, a run name, a config name, or the beginning of an id; None if none matches.

    `runs` must be sorted newest first. `latest` and a config name select the newest run that has ended and is not a
    rerun, or the newest run if no such run exists. Raises InputError if an id's beginning is ambiguous.
    """
    if text != "latest" and (exact := [run for run in runs if text in (run.run_id, run.mlflow_id, run.name)]):
        return exact[0]
    if likely := [run for run in runs if text in ("latest", run.params.get("name"))]:
        return next((run for run in likely if run.has_ended and not run.is_rerun), likely[0])
    matches = [run for run in runs if run.run_id.startswith(text)]
    if len(matches) > 1:
        raise InputError(f"{len(matches)} runs have ids that begin with {text!r}; `minigpt runs` lists them")
    return matches[0] if matches else None


def find_local_run(text: str) -> Run:
    """Find a run in this home, as match_run does; raise InputError if none matches."""
    if (run := match_run(text, runs_here())) is None:
        raise InputError(
            f"there is no run with the id or name {text!r} in {runs_folder()}; `minigpt runs --offline` lists them"
        )
    return run
