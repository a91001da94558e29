"""Runs that did not end: which they are, and with which config one goes on."""

from flows import config as configs
from flows.config import RunConfig
from minigpt.errors import InputError
from tasks.corpus import restore
from tasks.naming import meant, named
from tasks.ownership import is_owned, writing
from tasks.runs import CONFIG, CORPUS, Run, left_behind, runs_here, unfinished


def unfinished_run(text: str | None) -> Run:
    """The run of this home to go on with: the named one, or the last that did not end."""
    if run := meant(text or "latest", list(unfinished())):
        return run
    if text in (None, "latest"):
        for left in left_behind():
            left.result()  # a damaged one is an error, with its way out
        raise InputError(
            "no run waits to be resumed: all have ended, train still or had not begun; `minigpt runs` lists them"
        )
    run = named(text)
    if trains := meant(text, [other for other in runs_here() if not other.is_published() and is_owned(other.folder)]):
        raise InputError(writing(trains.folder))
    if run.result() is not None:
        raise InputError(f"run {run.run_id} has ended; `minigpt rerun {text}` does it again")
    return run


def recorded_config(run: Run) -> RunConfig:
    """The run's config; the text that the run kept is put where its digest finds it."""
    if not run.is_opened():
        raise InputError(f"run {run.run_id} was stopped before it was opened; start it anew")
    text = (run.folder / CONFIG).read_text(encoding="utf-8")
    config = configs.validated(configs.parse_yaml(text, CONFIG), (), f"the config of run {run.run_id}")
    if (run.folder / CORPUS).exists() and config.corpus.sha256:
        restore(run.folder / CORPUS, config.corpus.sha256)
    return config
