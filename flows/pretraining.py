"""The flow `pretrain`: from a text to a trained, evaluated and tracked model."""

import logging
from importlib import import_module
from threading import Thread

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelled, Failed

from flows.config import hide_secrets
from flows.console import scheduled_run_log
from flows.flush import counted_task_runs
from flows.missed_runs import newer_due_run
from minigpt.recipe import RunConfig
from minigpt.training.job import TrainingJob
from tasks.home.settings import RunIdentity, TrackingSettings
from tasks.reporting.summary import headline
from tasks.runs.result import Result
from tasks.steps.corpus import download_corpus
from tasks.steps.run_start import start_run
from tasks.steps.split import split_windows
from tasks.steps.tokenization import tokenize
from tasks.steps.training import run_training
from tasks.tracking.live import closing_run
from tasks.tracking.tracker import Tracker, open_tracker

log = logging.getLogger(__name__)


@flow(name="pretrain", flow_run_name="{config.name}", validate_parameters=True, retries=0)
def pretrain(
    config: RunConfig,
    tracking: TrackingSettings | None = None,
    identity: RunIdentity | None = None,
    resumed: str | None = None,
) -> Result | State[Result]:
    """Pretrain a GPT on a text and track it in MLflow, or continue the run `resumed`, whose config must be this one.

    A scheduled run that a newer due run replaces ends as Cancelled, a run that diverged as Failed with its result.
    """
    if newer := newer_due_run():
        return Cancelled(message=f"missed run: {newer.name}, due at {newer.expected_start_time}, trains instead")
    with scheduled_run_log(config.name), counted_task_runs():
        config = hide_secrets(config)  # the form in Prefect may contain some
        result = _pretrain(config, open_tracker(tracking or TrackingSettings()), identity or RunIdentity(), resumed)
        if deployment.id is not None:
            log.warning("%s: %s", config.name, headline(result))
    return Failed(message=headline(result), data=result) if result.status == "diverged" else result


def _pretrain(config: RunConfig, tracker: Tracker, identity: RunIdentity, resumed: str | None) -> Result:
    """Call every task, in order."""
    held_out = None if identity.rerun_of else config.held_out.source  # a rerun only compares bits
    held_out_files = None
    if held_out and resumed is None:
        from tasks.steps.held_out import check_held_out

        held_out_files = check_held_out(held_out)
    corpus = download_corpus(config.corpus)
    tokens = tokenize(corpus, config.split, config.tokenizer)
    windows = split_windows(tokens, config.split, config.training, config.model.context_length)
    config = config.resolved(corpus.sha256, windows.train_windows)
    job = TrainingJob(config=config, tokens_folder=tokens.folder)
    run = start_run(job, tracker, identity, corpus, tokens, windows, flow_run.id, resumed, held_out_files)
    with closing_run(run, tracker):
        # Importing torch and matplotlib takes seconds, so it happens while the training process starts.
        Thread(target=import_module, args=("tasks.steps.report",), daemon=True).start()
        trained = run_training(run, job, tracker)
        from tasks.steps.evaluation import evaluate_model
        from tasks.steps.held_out import judge_on_held_out
        from tasks.steps.report import StepResults, write_report
        from tasks.steps.sampling import generate_samples

        evaluated = evaluate_model(trained, job)
        samples = generate_samples(trained, job)
        judgement = judge_on_held_out(run, job, trained, held_out) if held_out else None
        work = StepResults(corpus, tokens, windows, trained, evaluated, samples, judgement)
        return write_report(run, job, tracker, work, flow_run.id)
