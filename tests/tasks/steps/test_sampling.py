"""What is said of the texts that a trained model writes."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from minigpt.checkpoints.folders import written_checkpoints
from minigpt.checkpoints.format import load_checkpoint
from minigpt.cost.price import Quote
from minigpt.training.job import read_job
from tasks.commands.sample import sample_texts
from tasks.home.settings import TrackingSettings
from tasks.reporting.summary import summary_lines
from tasks.runs.files import CORPUS_FILE
from tasks.runs.result import Result
from tasks.steps.sampling import generate_samples
from tasks.steps.training import Trained
from tasks.tracking.tracker import open_tracker
from tests.conftest import Workplace
from tests.tasks.conftest import with_config


def test_a_prompt_from_the_training_text_is_not_counted_as_a_copy(smoke: dict[str, Any]) -> None:
    folder = Path(smoke["run_dir"])
    last = written_checkpoints(folder / "checkpoints", "last")[-1]
    prompt = (folder / CORPUS_FILE).read_text()[:35]
    job = read_job(folder)
    asked = {"prompt": prompt, "last_new_tokens": 3}
    job = with_config(job, sampling=job.config.sampling.model_copy(update=asked))
    _, tokenizer = load_checkpoint(last)
    assert 3 < len(tokenizer.encode(prompt)) <= job.config.model.context_length
    trained = Trained(
        status="completed",
        steps=60,
        training_seconds=1.0,
        weights_sha256="",
        checkpoint=last,
        quote=TypeAdapter(Quote).validate_python(smoke["cost"]["quoted"]),
        curve_sent=True,
    )
    samples = generate_samples.fn(trained, job)
    assert samples.greedy.startswith(prompt)
    assert samples.longest_copied_tokens is not None
    assert 0 <= samples.longest_copied_tokens <= 3


def test_each_option_of_sample_does_what_it_says(
    smoke: dict[str, Any], workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGPT_HOME", str(workplace.home))

    def written(**options: Any) -> list[str]:
        usual = {"samples": 2, "temperature": 1.0, "top_k": None, "top_p": None, "max_new_tokens": 12, "stop": None}
        pieces = sample_texts(
            open_tracker(TrackingSettings(offline=True)),
            smoke["run_id"],
            "best",
            "The ",
            **{**usual, "seed": 5, **options},
        )
        return ["".join(text) for text in zip(*pieces, strict=True)]

    [greedy, again] = written(temperature=0.0)
    assert greedy == again
    assert greedy.startswith("The ")
    assert written(top_k=1) == written(top_p=1e-9) == [greedy, again]
    assert len({*written(), *written(seed=6)}) == 4
    added = greedy.removeprefix("The ")
    assert written(temperature=0.0, samples=1, stop=added[3:5]) == ["The " + added[: added.index(added[3:5])]]


def test_a_person_is_told_the_numbers_and_every_sentence(smoke: dict[str, Any]) -> None:
    said = "\n".join(summary_lines(Result.model_validate(smoke)))
    for name in ("loss", "perplexity", "bits per byte", "best", "bill", "untrained", "trained"):
        assert f"\n  {name} " in said
    assert f"{smoke['xz_bits_per_byte']:.3f}" in said
    assert f"{smoke['xz_after_training_bits_per_byte']:.3f} after reading the training text" in said
    assert smoke["words"]
    assert all(sentence in said for sentence in smoke["words"])


def test_a_best_loss_that_is_of_a_part_of_the_text_says_so(smoke: dict[str, Any]) -> None:
    [best] = [line for line in summary_lines(Result.model_validate(smoke)) if line.startswith("  best ")]
    measured, every = smoke["val_windows_measured_in_training"], smoke["val_windows"]
    assert measured == 8 * 16 < every
    assert best.endswith(f"at step {smoke['best_step']}, on the first {measured} of {every} windows")
    whole = Result.model_validate({**smoke, "val_windows_measured_in_training": every})
    assert f"at step {smoke['best_step']}" in {
        line[-len(f"at step {smoke['best_step']}") :] for line in summary_lines(whole)
    }
