"""Which run `minigpt resume` goes on with."""

from dataclasses import replace
from pathlib import Path

import pytest

from flows.config import load_config
from flows.resume import recorded_config, unfinished_run
from minigpt.errors import InputError
from minigpt.recipe import CONFIG_FILE
from minigpt.training.job import JOB, TrainingJob
from tasks.home.settings import TrackingSettings
from tasks.runs.files import FACTS_FILE, PUBLISHED_FILE, RESULT_FILE
from tasks.runs.lease import LEASE_FILE, release_lease
from tasks.runs.run import Run
from tasks.tracking.live import create_run
from tasks.tracking.tracker import open_tracker
from tests.values import RESULT


@pytest.fixture
def nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Of one name: one that has ended, and one that trains, for this process wrote it last."""
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path))
    made = [
        create_run(open_tracker(TrackingSettings(offline=True)), f"night-{number}", {"name": "night"}, {})
        for number in (1, 2)
    ]
    runs = [replace(run, start_time_ms=number) for number, run in enumerate(made)]
    for run in runs:
        run.save()
        (run.folder / FACTS_FILE).touch()
    RESULT.write(runs[0].folder / RESULT_FILE)
    release_lease(runs[0].folder)
    return runs


def test_a_name_of_which_one_trains_means_that_one(nights: list[Run]) -> None:
    ended, trains = nights
    for text in ("night", "night-2", trains.run_id):
        with pytest.raises(InputError, match=f"run {trains.run_id} is being written by process"):
            unfinished_run(text)
    with pytest.raises(InputError, match=f"run {ended.run_id} has ended"):
        unfinished_run("night-1")


def test_who_wrote_a_run_that_has_ended_is_not_asked(nights: list[Run]) -> None:
    ended, trains = nights
    release_lease(trains.folder)
    (ended.folder / PUBLISHED_FILE).touch()
    (ended.folder / LEASE_FILE).write_text("{")
    with pytest.raises(InputError, match=f"run {ended.run_id} has ended"):
        unfinished_run("night-1")


def test_a_name_of_which_one_died_means_that_one(nights: list[Run]) -> None:
    _, died = nights
    release_lease(died.folder)
    assert unfinished_run("night").run_id == unfinished_run(None).run_id == died.run_id


@pytest.fixture
def stopped(nights: list[Run]) -> Run:
    """Opened, with its config and its job."""
    run = nights[1]
    config = load_config("smoke", ["corpus.source=book.txt"])
    (run.folder / CONFIG_FILE).write_text(config.to_yaml())
    job = TrainingJob(config=config, tokens_folder=run.folder)
    (run.folder / JOB).write_text(job.model_dump_json())
    return run


def test_a_run_goes_on_with_the_config_that_it_began_with(stopped: Run) -> None:
    assert recorded_config(stopped) == load_config("smoke", ["corpus.source=book.txt"])


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        (["training.max_steps=90"], "training.max_steps is 90 and was 60 when the run began; put it back, or start"),
        (["corpus.source=other.txt"], "corpus.source is 'other.txt' and was 'book.txt' when the run began; put it"),
        (["evaluation.validation_batches=null"], "evaluation.validation_batches is None and was 8 when the run began"),
        (["seed=1", "name=other"], "name is 'other' and was 'smoke' when the run began; seed is 1 and was 123 when"),
        (["seed=1", "name=other"], "; put them back, or start a new run: `minigpt run "),
    ],
)
def test_a_config_that_was_edited_since_is_refused(edits: list[str], told: str, stopped: Run) -> None:
    edited = load_config("smoke", ["corpus.source=book.txt", *edits])
    (stopped.folder / CONFIG_FILE).write_text(edited.to_yaml())
    with pytest.raises(InputError, match=r"^[^\n]+$") as error:
        recorded_config(stopped)
    assert told in str(error.value)
    assert str(error.value).endswith(f"`minigpt run {stopped.folder / CONFIG_FILE}`")
