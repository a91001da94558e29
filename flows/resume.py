"""Runs that did not end: which they are, and with which config one goes on."""

from flows.config import parse_yaml, validate_config
from minigpt.errors import InputError
from minigpt.recipe import RunConfig
from tasks.runs.files import CONFIG_FILE, CORPUS_FILE
from tasks.runs.lease import is_owned, owner_sentence
from tasks.runs.names import find_local_run, match_run
from tasks.runs.run import Run, left_behind, runs_here, unfinished
from tasks.steps.corpus import restore_corpus


def unfinished_run(text: str | None) -> Run:
    """The run of this home to go on with: the named one, or the last that did not end."""
    if run := match_run(text or "latest", list(unfinished())):
        return run
    if text in (None, "latest"):
        for left in left_behind():
            left.result()  # a damaged one is an error, with its way out
        raise InputError(
            "no run waits to be resumed: all have ended, train still or had not begun; `minigpt runs` lists them"
        )
    run = find_local_run(text)
    if trains := match_run(
        text, [other for other in runs_here() if not other.is_published() and is_owned(other.folder)]
    ):
        raise InputError(owner_sentence(trains.folder))
    if run.result() is not None:
        raise InputError(f"run {run.run_id} has ended; `minigpt rerun {text}` does it again")
    return run


def recorded_config(run: Run) -> RunConfig:
    """The run's config; the text that the run kept is put where its digest finds it."""
    if not run.is_opened():
        raise InputError(f"run {run.run_id} was stopped before it was opened; start it anew")
    text = (run.folder / CONFIG_FILE).read_text(encoding="utf-8")
    config = validate_config(parse_yaml(text, CONFIG_FILE), (), f"the config of run {run.run_id}")
    if (run.folder / CORPUS_FILE).exists() and config.corpus.sha256:
        restore_corpus(run.folder / CORPUS_FILE, config.corpus.sha256)
    return config
