"""The flow: from a text to a trained, measured, tracked model."""

import logging

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelled, Failed

from flows.config import RunConfig
from flows.superseding import newer_due_run
from flows.telling import told_by_schedule
from minigpt.training.job import TrainingJob
from tasks.corpus import download_corpus
from tasks.evaluation import evaluate_model
from tasks.held_out import check as check_held_out
from tasks.held_out import judge
from tasks.opening import open_run
from tasks.publishing import closing
from tasks.report import Work, report
from tasks.result import Result, headline
from tasks.sampling import generate_samples
from tasks.split import split_windows
from tasks.tokenization import tokenize
from tasks.tracking_settings import Tracking
from tasks.training import train

log = logging.getLogger(__name__)

# How many tasks a whole flow run has, one more with a held-out text.
TASK_RUNS = 8


@flow(name="pretrain", flow_run_name="{config.name}", validate_parameters=True)
def pretrain(config: RunConfig, tracking: Tracking | None = None, resumed: str | None = None) -> Result | State[Result]:
    """Pretrain a GPT on a text and track it in MLflow; or go on with the run `resumed`, which has this config."""
    if newer := newer_due_run():
        return Cancelled(message=f"missed its time; {newer.name}, due at {newer.expected_start_time}, trains instead")
    with told_by_schedule(config.name):
        config = config.without_secrets()  # Prefect's form may have been given some
        result = _pretrain(config, tracking or Tracking(), resumed)
        if deployment.id is not None:
            log.warning("%s: %s", config.name, headline(result))
    return Failed(message=headline(result), data=result) if result.status == "diverged" else result


def _pretrain(config: RunConfig, tracking: Tracking, resumed: str | None) -> Result:
    """Every task, in order."""
    held_out = None if tracking.rerun_of else config.held_out.source  # a rerun is to prove bits, wherever it is
    if held_out and resumed is None:
        check_held_out(held_out)
    corpus = download_corpus(config.corpus)
    tokens = tokenize(corpus, config.split, config.tokenizer)
    windows = split_windows(tokens, config.split, config.training, config.model.context_length)
    config = config.resolved(corpus.sha256, windows.train_windows)
    job = TrainingJob(
        seed=config.seed,
        model=config.model,
        training=config.training,
        split=config.split,
        evaluation=config.evaluation,
        sampling=config.sampling,
        environment=config.environment,
        cost=config.cost.resolved(config.environment.threads or 1),
        tokens_folder=tokens.folder,
    )
    run = open_run(config, job, tracking, corpus, tokens, windows, flow_run.id, resumed)
    with closing(run):
        trained = train(run, job)
        evaluated = evaluate_model(trained, job)
        samples = generate_samples(trained, job)
        judgement = judge(run, job, trained, held_out) if held_out else None
        work = Work(corpus, tokens, windows, trained, evaluated, samples, judgement)
        return report(run, job, work, flow_run.id)
