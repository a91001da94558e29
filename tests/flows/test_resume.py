"""Which run `minigpt resume` goes on with."""

from dataclasses import replace
from pathlib import Path

import pytest

from flows.resume import unfinished_run
from minigpt.errors import InputError
from tasks.home.settings import TrackingSettings
from tasks.runs.files import FACTS_FILE, PUBLISHED_FILE, RESULT_FILE
from tasks.runs.lease import LEASE_FILE, release_lease
from tasks.runs.run import Run
from tasks.tracking.write import create_run

ENDED = '{"status": "completed", "steps": 1, "curve_sha256": "", "weights_sha256": "", "val_loss": 1.0, "cost": {}}'


@pytest.fixture
def nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Of one name: one that has ended, and one that trains, for this process wrote it last."""
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path))
    made = [create_run(TrackingSettings(offline=True), f"night-{number}", {"name": "night"}, {}) for number in (1, 2)]
    runs = [replace(run, start_time_ms=number) for number, run in enumerate(made)]
    for run in runs:
        run.save()
        (run.folder / FACTS_FILE).touch()
    (runs[0].folder / RESULT_FILE).write_text(ENDED)
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
