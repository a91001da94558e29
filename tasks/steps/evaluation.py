"""The step `evaluation`: measure the last weights on every validation window and on the training windows they read."""

import logging
import time
from dataclasses import dataclass

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from minigpt.checkpoints.folders import step_of
from minigpt.checkpoints.format import load_checkpoint
from minigpt.data.tokens import SIDES
from minigpt.data.windows import Batches
from minigpt.evaluation.loss import Evaluation, evaluate
from minigpt.runtime.environment import apply_environment
from minigpt.training.job import TrainingJob
from tasks.reporting.units import format_duration
from tasks.steps.training import Trained

log = logging.getLogger(__name__)

# Seconds between log lines that report the progress of a measurement.
PROGRESS_SECONDS = 15.0


@dataclass(frozen=True)
class Evaluated:
    """Measurements of the last weights on the windows of each side."""

    train: Evaluation
    val: Evaluation
    epochs: float
    """Passes over the training windows; may be a fraction."""


@task(name="evaluation", cache_policy=NO_CACHE, retries=0)
def evaluate_model(trained: Trained, job: TrainingJob) -> Evaluated:
    """Measure token-weighted loss, perplexity and bits per byte of the last weights, in evaluation mode."""
    config = job.config
    apply_environment(config.environment)
    model, tokenizer = load_checkpoint(trained.checkpoint)
    token_bytes = torch.from_numpy(tokenizer.token_bytes())
    train_windows, val_windows = map(job.windows, SIDES)
    batches = max(1, step_of(trained.checkpoint)) * config.training.gradient_accumulation_steps
    read, tokens = train_windows.read(batches, config.training.batch_size, config.seed, config.evaluation.batch_size)
    train = evaluate(model, _log_progress("training", read, tokens), token_bytes)
    every = val_windows.in_order(config.evaluation.batch_size)
    val = evaluate(model, _log_progress("validation", every, val_windows.predicted_tokens), token_bytes)
    log.info(
        "last weights: train %.3f, val %.3f, perplexity %.4g, %.3f bits/byte",
        train.loss,
        val.loss,
        val.perplexity,
        val.bits_per_byte,
    )
    return Evaluated(train, val, config.training.epochs(len(train_windows), trained.steps))


def _log_progress(text: str, batches: Batches, tokens: int) -> Batches:
    """Yield the batches, which hold `tokens` target tokens in all, and log the time left every PROGRESS_SECONDS."""
    started = logged = time.monotonic()
    measured = 0
    for inputs, targets in batches:
        yield inputs, targets
        measured += targets.numel()
        now = time.monotonic()
        if now > logged + PROGRESS_SECONDS:
            logged, left = now, (now - started) * (tokens / measured - 1)
            log.info("measured %.0f%% of the %s text, %s left", 100 * measured / tokens, text, format_duration(left))
