"""The step `run opening`: a run in MLflow and a folder for it, with all that a rerun needs."""

import json
import logging
import os
import time
from typing import Any, Protocol

from prefect import task
from prefect.cache_policies import NO_CACHE

from minigpt.corpus import Corpus
from minigpt.generation import encode_prompt
from minigpt.store import link_or_copy, write_whole
from minigpt.tokenizer import TOKENIZER, load
from minigpt.worker import TrainingJob
from tasks import tracking
from tasks.facts import code_facts, differences
from tasks.ownership import own
from tasks.split import Windows
from tasks.tokenization import Tokens
from tasks.tracking import Run
from tasks.tracking_settings import Tracking, public

log = logging.getLogger(__name__)

CONFIG = "config.yaml"
FACTS = "facts.json"
CORPUS = "corpus.txt"
# A longer corpus is not kept with the run; its address and digest are.
KEPT_CORPUS_MAX_BYTES = 50_000_000


class Config(Protocol):
    """What this step has to know of a whole configuration."""

    @property
    def name(self) -> str: ...

    def flat(self) -> dict[str, Any]: ...
    def to_yaml(self) -> str: ...


@task(name="run opening", cache_policy=NO_CACHE)
def open_run(
    config: Config,
    job: TrainingJob,
    settings: Tracking,
    corpus: Corpus,
    tokens: Tokens,
    windows: Windows,
    flow_run_id: str | None,
    resumed: str | None,
) -> Run:
    """Create the run with its hyperparameters, its corpus and the facts that a rerun compares, or open it again."""
    encode_prompt(load(tokens.folder / TOKENIZER), job.sampling.prompt, job.model.context_length)
    settings = settings.resolved()
    facts = code_facts() | {
        "corpus": {"sha256": corpus.sha256, "size_bytes": corpus.size_bytes, "source": corpus.source},
        "tokenizer_sha256": tokens.tokenizer_sha256,
        "windows": windows.digests,
    }
    if resumed is not None:
        return _open_again(settings, resumed, facts, flow_run_id)
    name = settings.run_name or f"{config.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    tags = {
        "minigpt.status": "running",
        "minigpt.code_sha256": facts["code_sha256"],
        "mlflow.source.name": "minigpt",
        "mlflow.source.git.commit": str(facts["git_commit"]),
        "minigpt.git_dirty": str(facts["git_dirty"]),
        "minigpt.packages": json.dumps(facts["packages"]),
        "minigpt.corpus_sha256": corpus.sha256,
        **_prefect_tags(flow_run_id),
    }
    run = tracking.create_run(settings, name, config.flat(), tags)
    with tracking.closing(run):
        write_whole(run.folder / CONFIG, config.to_yaml().encode())
        write_whole(run.folder / FACTS, json.dumps(facts, indent=1).encode())
        names = [CONFIG, FACTS]
        if corpus.size_bytes <= KEPT_CORPUS_MAX_BYTES:
            link_or_copy(corpus.path, run.folder / CORPUS)
            names.append(CORPUS)
        for file in names:
            tracking.keep_file(run, run.folder / file)
        counts = {"train_tokens": tokens.train_tokens, "validation_tokens": tokens.val_tokens}
        tracking.log_dataset(run, corpus, counts)
    log.info("run %s (%s) in %s, tracked at %s", name, run.run_id, run.folder, public(settings.tracking_uri or ""))
    return run


def _prefect_tags(flow_run_id: str | None) -> dict[str, str]:
    return {
        "prefect.flow_run_id": str(flow_run_id),
        "prefect.flow_run_url": f"{os.environ.get('PREFECT_UI_URL', '')}/runs/flow-run/{flow_run_id}",
    }


def _open_again(settings: Tracking, run_id: str, facts: dict[str, Any], flow_run_id: str | None) -> Run:
    """The run for this process, with a word on each recorded fact that is no longer the same."""
    run = tracking.find_run(settings, run_id)
    own(run.folder)
    for difference in differences(json.loads((run.folder / FACTS).read_bytes()), facts):
        log.warning("resuming run %s with a difference: %s", run.run_id, difference)
    tracking.reopen(run, {"minigpt.status": "running", "minigpt.resumed": "true", **_prefect_tags(flow_run_id)})
    log.info("run %s (%s) goes on in %s", run.name, run.run_id, run.folder)
    return run
