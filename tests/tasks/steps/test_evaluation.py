"""What is measured behind the last step, and what who waits is told of it."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from minigpt.checkpoints.folders import step_of, written_checkpoints
from minigpt.checkpoints.format import load_checkpoint
from minigpt.cost.price import Quote
from minigpt.data.tokens import open_tokens
from minigpt.data.windows import Windows, cut_windows
from minigpt.evaluation.loss import evaluate
from minigpt.training.job import TrainingJob, read_job
from tasks.steps.evaluation import evaluate_model
from tasks.steps.training import Trained
from tests.tasks.conftest import with_config


@pytest.fixture(scope="module")
def job(smoke: dict[str, Any]) -> TrainingJob:
    return read_job(Path(smoke["run_dir"]))


@pytest.fixture(scope="module")
def trained(smoke: dict[str, Any]) -> Trained:
    return Trained(
        status="completed",
        steps=smoke["steps"],
        training_seconds=1.0,
        weights_sha256="",
        checkpoint=written_checkpoints(Path(smoke["run_dir"]) / "checkpoints", "last")[-1],
        quote=TypeAdapter(Quote).validate_python(smoke["cost"]["quoted"]),
        curve_sent=True,
    )


def windows_of(job: TrainingJob) -> Windows:
    return cut_windows(
        open_tokens(job.tokens_folder / "train.bin"), "train", job.config.model.context_length, job.config.split
    )


@pytest.mark.parametrize("kept_step", [40, 60])
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("shifted", [False, True])
def test_of_a_text_that_was_not_read_to_its_end_what_was_read_is_measured(
    shifted: bool, accumulation: int, kept_step: int, job: TrainingJob, trained: Trained
) -> None:
    """By the weights that are measured: of a run that diverged they are older than its end."""
    job = with_config(
        job,
        training=job.config.training.model_copy(update={"gradient_accumulation_steps": accumulation}),
        split=job.config.split.model_copy(update={"shift_windows": shifted}),
    )
    trained = replace(
        trained, checkpoint=next(f for f in trained.checkpoint.parent.iterdir() if step_of(f) == kept_step)
    )
    windows, (model, tokenizer) = windows_of(job), load_checkpoint(trained.checkpoint)
    batches = range(accumulation * kept_step)
    read = [windows.training_batch(job.config.training.batch_size, job.config.seed, batch) for batch in batches]
    found = evaluate_model.fn(trained, job)
    expected = evaluate(model, read, torch.ones(tokenizer.vocabulary_size, dtype=torch.int64))
    assert len(windows) > len(batches) * job.config.training.batch_size
    assert (found.train.tokens, found.train.loss) == (expected.tokens, expected.loss)
    assert found.epochs == accumulation * trained.steps * job.config.training.batch_size / len(windows)


def test_of_a_text_that_was_read_all_of_it_is_measured(
    smoke: dict[str, Any], job: TrainingJob, trained: Trained
) -> None:
    windows = windows_of(job)
    larger = {"batch_size": len(windows) // trained.steps}
    found = evaluate_model.fn(trained, with_config(job, training=job.config.training.model_copy(update=larger)))
    assert found.train.tokens == windows.predicted_tokens
    assert found.val.loss == smoke["val_loss"]


def test_who_waits_is_told_how_long(
    job: TrainingJob, trained: Trained, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tasks.steps.evaluation.PROGRESS_SECONDS", 0.0)
    with caplog.at_level(logging.INFO):
        evaluate_model.fn(trained, job)
    for text in ("training", "validation"):
        told = [message for message in caplog.messages if f"% of the {text} text" in message]
        assert told[-1] == f"measured 100% of the {text} text, 0:00 left"
