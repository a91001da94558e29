"""Find the run to resume, and the config to resume it with."""

from minigpt.errors import InputError
from minigpt.recipe import CONFIG_FILE, RunConfig, read_config
from minigpt.training.job import JOB, read_job
from tasks.home.credentials import shown
from tasks.runs.files import CORPUS_FILE
from tasks.runs.lease import is_owned, owner_sentence
from tasks.runs.names import find_local_run, match_run
from tasks.runs.run import Run, left_behind, runs_here, unfinished
from tasks.steps.corpus import restore_corpus


def unfinished_run(text: str | None) -> Run:
    """The run of this home to resume: the one that `text` names, or the newest unfinished one.

    Raises InputError if no run matches, or if the run has ended or still trains.
    """
    if run := match_run(text or "latest", list(unfinished())):
        return run
    if text in (None, "latest"):
        for left in left_behind():
            left.result()  # raises if the run is damaged, and says the way out
        raise InputError(
            "no run waits to be resumed: each has ended, still trains or never began; `minigpt runs` lists them"
        )
    run = find_local_run(text)
    if trains := match_run(
        text, [other for other in runs_here() if not other.is_published() and is_owned(other.folder)]
    ):
        raise InputError(owner_sentence(trains.folder))
    if run.result() is not None:
        raise InputError(f"run {run.run_id} has ended; `minigpt rerun {text}` repeats it")
    return run


def recorded_config(run: Run) -> RunConfig:
    """The config of the run. The text that the run kept is restored into the cache, where its digest finds it.

    Raises InputError if the run was never opened, or if its config was edited.
    """
    if not run.is_opened():
        raise InputError(f"run {run.run_id} was stopped before it was opened; start a new run")
    config = read_config(run.folder / CONFIG_FILE)
    if (run.folder / JOB).exists():  # in the first format it is written when the training begins
        _refuse_another(config, run)
    if (run.folder / CORPUS_FILE).exists() and config.corpus.sha256:
        restore_corpus(run.folder / CORPUS_FILE, config.corpus.sha256)
    return config


def _refuse_another(config: RunConfig, run: Run) -> None:
    """Refuse a config that was edited after the start of the run: MLflow and the steps so far belong to the old one."""
    began = read_job(run.folder).config.flat()
    changed = [
        f"{name} is {shown(value)} and was {shown(began[name])} when the run began"
        for name, value in config.flat().items()
        if value != began[name]
    ]
    if changed:
        path = run.folder / CONFIG_FILE
        back = "it" if len(changed) == 1 else "them"
        raise InputError(
            f"{path} was edited: {'; '.join(changed)}; put {back} back, or start a new run: `minigpt run {path}`"
        )
