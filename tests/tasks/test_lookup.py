"""Which run a person means, and how a run of this home comes into MLflow."""

import json
import os
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient

from minigpt.errors import InputError
from tasks import tracking
from tasks.lookup import find_run, runs_table
from tasks.ownership import OWNER, abandoned, own
from tasks.runs import Run, meant, named
from tasks.tracking_settings import Tracking


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracking:
    """A home without runs, and its own store."""
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path))
    return Tracking(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="minigpt")


def made(settings: Tracking, name: str, *, offline: bool = False) -> Run:
    params = {"seed": 1, "name": name}
    return tracking.create_run(settings.model_copy(update={"offline": offline}), name, params, {})


def test_a_name_is_meant_before_the_beginning_of_an_id() -> None:
    runs = [Run(run_id, name, Tracking(), 0, {}, {}) for run_id, name in (("12", "x"), ("34", "1"), ("15", "y"))]
    found = {text: run and run.run_id for text in ("latest", "1", "3", "15", "y", "z") for run in [meant(text, runs)]}
    assert found == {"latest": "12", "1": "34", "3": "34", "15": "15", "y": "15", "z": None}
    with pytest.raises(InputError, match="2 runs have ids that begin with '1'"):
        meant("1", [run for run in runs if run.name != "1"])


def test_the_latest_run_is_one_that_mlflow_has_yet_to_get(here: Tracking) -> None:
    first = made(here, "first")
    later = made(here, "later", offline=True)
    elsewhere = made(here.model_copy(update={"experiment": "another"}), "elsewhere", offline=True)
    assert find_run(here, "latest").run_id == later.run_id
    assert find_run(here, "first").run_id == first.run_id
    assert find_run(here, "elsewhere").run_id == elsewhere.run_id
    assert list(runs_table(here)["name"]) == ["elsewhere", "later", "first"]


def test_a_run_that_breaks_off_on_its_way_into_mlflow_gets_its_hyperparameters_later(here: Tracking) -> None:
    run = made(here, "sent", offline=True)
    tracking._create(run, {tracking.OUR_ID: run.run_id})  # and not its params
    attached = tracking.attach(run)
    client = MlflowClient(here.tracking_uri)
    assert client.get_run(attached.mlflow_id).data.params == {"seed": "1", "name": "sent"}
    assert len(client.search_runs([attached.experiment_id])) == 1
    assert named("sent").mlflow_id == attached.mlflow_id


def test_two_commands_that_send_one_run_make_one_of_it(here: Tracking) -> None:
    run = made(here, "sent", offline=True)
    tracking.tracked_runs(here)  # the store is there
    threads = [threading.Thread(target=tracking.attach, args=(run,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [tracked.run_id for tracked in tracking.tracked_runs(here)] == [run.run_id]


def test_a_run_is_abandoned_once_and_not_while_another_process_has_taken_it_over(here: Tracking) -> None:
    run = made(here, "died")
    owner = json.loads((run.folder / OWNER).read_bytes())
    (run.folder / OWNER).write_text(json.dumps({**owner, "pid": 2**22 + 1}))
    with abandoned(run.folder) as died:
        assert died
    own(run.folder)
    with abandoned(run.folder) as died:
        assert not died
    assert json.loads((run.folder / OWNER).read_bytes())["pid"] == os.getpid()
