"""The step `run opening`: create the run in MLflow and its folder, with everything that a rerun needs."""

import json
import logging
import os
import time
from dataclasses import replace

import psutil
from prefect import task
from prefect.cache_policies import NO_CACHE

from minigpt.data.files import SourceFiles
from minigpt.data.sources import Corpus
from minigpt.data.tokenizer import TOKENIZER_FILE, encode_prompt, load_tokenizer
from minigpt.io.store import link_or_copy, write_atomically
from minigpt.recipe import CONFIG_FILE
from minigpt.runtime.machine import cpu_class
from minigpt.training.job import JOB, TrainingJob
from tasks.home.folders import runs_folder
from tasks.home.settings import RunIdentity
from tasks.runs.changes import since_last_run
from tasks.runs.files import CORPUS_FILE, DIFF_FILE, FACTS_FILE, PUBLISHED_FILE
from tasks.runs.lease import take_lease
from tasks.runs.provenance import (
    MAIN_PACKAGES,
    CorpusFacts,
    Facts,
    TokenCounts,
    code_diff,
    collect_facts,
    fact_differences,
)
from tasks.runs.run import CHANGE_TAG, RERUN_OF_TAG, Run, as_params, load_run
from tasks.steps.split import SplitWindows
from tasks.steps.tokenization import Tokens
from tasks.tracking.live import closing_run, create_run, report_status
from tasks.tracking.recovery import settle_dead_runs
from tasks.tracking.tracker import Tracker
from tasks.tracking.write import ERROR_TAG, STATUS_TAG

log = logging.getLogger(__name__)

# A run keeps a copy of its corpus up to this size; of a larger one it records the address and the digest.
KEPT_CORPUS_MAX_BYTES = 50_000_000


@task(name="run opening", cache_policy=NO_CACHE, retries=0)
def start_run(
    job: TrainingJob,
    tracker: Tracker,
    identity: RunIdentity,
    corpus: Corpus,
    tokens: Tokens,
    windows: SplitWindows,
    flow_run_id: str | None,
    resumed: str | None,
    held_out_files: SourceFiles | None,
) -> Run:
    """Create the run with its hyperparameters, corpus and provenance, or reopen the run with the id `resumed`.

    Raises InputError if the prompt of the config cannot be encoded or does not fit into the context.
    """
    config = job.config
    encode_prompt(load_tokenizer(tokens.folder / TOKENIZER_FILE), config.sampling.prompt, config.model.context_length)
    settle_dead_runs(tracker, resumed)
    facts = collect_facts(
        CorpusFacts(corpus.sha256, corpus.size_bytes, corpus.source),
        TokenCounts(tokens.train_tokens, tokens.val_tokens),
        tokens.tokenizer_sha256,
        windows.digests,
        corpus_files=corpus.files.facts() if corpus.files else None,
        held_out_files=held_out_files.facts() if held_out_files else None,
    )
    if resumed is not None:
        return _open_again(tracker, resumed, job, facts, flow_run_id)
    name = identity.name_or(f"{config.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    tags = {
        STATUS_TAG: "running",
        "minigpt.code_sha256": facts.code_sha256,
        "mlflow.source.name": "minigpt",
        "mlflow.source.git.commit": str(facts.git_commit),
        "minigpt.git_dirty": str(facts.git_dirty),
        "minigpt.packages": json.dumps({package: facts.packages[package] for package in MAIN_PACKAGES}),
        "minigpt.corpus_sha256": corpus.sha256,
        "minigpt.corpus_bytes": str(corpus.size_bytes),
        "minigpt.cpu_class": cpu_class(),
        "mlflow.user": psutil.Process().username(),
        **_prefect_tags(flow_run_id),
    }
    if identity.rerun_of is not None:
        tags[RERUN_OF_TAG] = identity.rerun_of
    elif change := since_last_run(as_params(config.flat()), facts, corpus):
        log.warning("%s", change)
        tags[CHANGE_TAG] = change
    run = create_run(tracker, name, config.flat(), tags)
    with closing_run(run, tracker):
        write_atomically(run.folder / CONFIG_FILE, config.to_yaml().encode())
        _write_job(run, job)
        if corpus.size_bytes <= KEPT_CORPUS_MAX_BYTES:
            link_or_copy(corpus.path, run.folder / CORPUS_FILE)
        else:
            log.warning(
                "the corpus has %s bytes and runs keep at most %s, so a rerun reads its source again (sha256 %s)",
                f"{corpus.size_bytes:,}",
                f"{KEPT_CORPUS_MAX_BYTES:,}",
                corpus.sha256,
            )
        if diff := code_diff():
            write_atomically(run.folder / DIFF_FILE, diff)
        facts.write(run.folder / FACTS_FILE)
        tracker.send_opening(run)
    log.info("run %s (%s) in %s, tracked at %s", name, run.run_id, run.folder, tracker.address.shown)
    return run


def _write_job(run: Run, job: TrainingJob) -> None:
    write_atomically(run.folder / JOB, job.model_dump_json(indent=1).encode())


def _prefect_tags(flow_run_id: str | None) -> dict[str, str]:
    return {
        "prefect.flow_run_id": str(flow_run_id),
        "prefect.flow_run_url": f"{os.environ.get('PREFECT_UI_URL', '')}/runs/flow-run/{flow_run_id}",
    }


def _open_again(tracker: Tracker, run_id: str, job: TrainingJob, facts: Facts, flow_run_id: str | None) -> Run:
    """Reopen the run in this process: take its lease, and log every recorded fact that has changed."""
    run = load_run(runs_folder() / run_id)
    take_lease(run.folder)
    _write_job(run, job)  # the tokens may be in another folder now
    (run.folder / PUBLISHED_FILE).unlink(missing_ok=True)  # a result that is written again is not published yet
    for difference in fact_differences(run.facts().model_dump(), facts.model_dump()):
        log.warning("run %s is resumed although this has changed: %s", run.run_id, difference)
    tags = _prefect_tags(flow_run_id)
    noted = {key: value for key, value in run.tags.items() if key != ERROR_TAG}  # left by an earlier failure
    run = replace(run, tracking=tracker.address, tags={**noted, STATUS_TAG: "running", **tags})
    run.save()
    run = tracker.attach(run)
    report_status(run, tracker, "RUNNING", "running", {"minigpt.resumed": "true", **tags})
    log.info("run %s (%s) continues in %s", run.name, run.run_id, run.folder)
    return run
