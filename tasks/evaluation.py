"""The step `evaluation`: measure the last weights on every window of both sides."""

import logging
from dataclasses import dataclass

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from minigpt import checkpoint, environment
from minigpt.dataset import cut_windows, open_tokens
from minigpt.evaluation import Evaluation, evaluate
from minigpt.job import TrainingJob
from tasks.training import Trained

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluated:
    """The last weights on all windows of each side."""

    train: Evaluation
    val: Evaluation


@task(name="evaluation", cache_policy=NO_CACHE)
def evaluate_model(trained: Trained, job: TrainingJob) -> Evaluated:
    """Token-weighted loss, perplexity and bits per byte, in evaluation mode."""
    environment.apply(job.environment)
    model, tokenizer = checkpoint.load(trained.checkpoint)
    token_bytes = torch.from_numpy(tokenizer.token_bytes())
    measured = {}
    for side in ("train", "val"):
        tokens = open_tokens(job.tokens_folder / f"{side}.bin")
        windows = cut_windows(tokens, side, job.model.context_length, job.split)
        measured[side] = evaluate(model, windows.in_order(job.evaluation.batch_size), token_bytes)
    log.info(
        "last weights on every window: train %.3f, val %.3f, perplexity %.4g, %.3f bits/byte",
        measured["train"].loss,
        measured["val"].loss,
        measured["val"].perplexity,
        measured["val"].bits_per_byte,
    )
    return Evaluated(**measured)
