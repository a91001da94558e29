"""What MLflow gets of a run that ended, in which order, and what a failure on the way leaves."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from mlflow import MlflowClient

from minigpt.errors import InputError
from minigpt.io.store import write_atomically
from tasks import tracked, tracking
from tasks.leftovers import settle
from tasks.lookup import runs_table
from tasks.naming import named
from tasks.ownership import OWNER
from tasks.publishing import PUBLISHING, closing, publish, tell_status
from tasks.runs import FACTS, RESULT, Run, unfinished
from tasks.tracking_settings import Tracking
from tasks.tracking_store import TIMEOUT, TIMEOUT_SECONDS, StoreError, client_of, local_path, patience_for


@pytest.fixture
def ended(smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of a run that MLflow has yet to hear of, in a home and a store of its own."""
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path))
    ours = shutil.ignore_patterns("artifacts", "published")
    shutil.copytree(smoke["run_dir"], tmp_path / "runs" / smoke["run_id"], ignore=ours)
    store = Tracking(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="minigpt")
    run = replace(named("latest"), tracking=store, mlflow_id=None, experiment_id="", artifact_uri="")
    run.save()
    return run


def test_a_store_that_takes_no_checkpoint_has_all_the_rest(ended: Run, tmp_path: Path) -> None:
    attached = tracking.attach(ended)
    blocking = (local_path(attached.artifact_uri) or tmp_path) / "checkpoints"
    blocking.parent.mkdir(parents=True)
    blocking.write_bytes(b"")
    with pytest.raises(StoreError):
        publish(ended)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    sent = client.get_run(attached.mlflow_id)
    assert (sent.info.status, sent.data.tags["minigpt.status"]) == ("FINISHED", "completed")
    assert {"final/val_loss", "bill/usd"} <= set(sent.data.metrics)
    assert not named("latest").is_published()
    (ended.folder / OWNER).unlink(missing_ok=True)
    assert list(runs_table(ended.tracking)["status"]) == ["completed, not synced"]
    blocking.unlink()
    publish(named("latest"))
    assert named("latest").is_published()
    assert {path.name for path in blocking.iterdir()} == {"best", "last"}


def test_a_damaged_result_of_one_run_holds_up_no_other(ended: Run, caplog: pytest.LogCaptureFixture) -> None:
    (ended.folder / OWNER).unlink(missing_ok=True)
    (ended.folder / RESULT).write_bytes(b"{")
    settle(ended.tracking, None)
    assert f"run {ended.run_id[:12]} still waits for MLflow: {ended.folder / RESULT} is damaged" in caplog.text
    assert list(unfinished()) == []


def test_only_a_run_that_was_opened_waits_to_be_resumed(ended: Run) -> None:
    (ended.folder / OWNER).unlink(missing_ok=True)
    (ended.folder / RESULT).unlink()
    assert [run.run_id for run in unfinished()] == [ended.run_id]
    (ended.folder / FACTS).unlink()
    assert list(unfinished()) == []


def test_after_a_divergence_a_checkpoint_has_its_own_losses(ended: Run, tmp_path: Path) -> None:
    """The result's are those of the weights that were kept, which may be older."""
    result = json.loads((ended.folder / RESULT).read_bytes())
    write_atomically(ended.folder / RESULT, json.dumps({**result, "status": "diverged", "val_loss": 99.0}).encode())
    publish(ended)
    sent = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_run(named("latest").mlflow_id)
    assert sent.data.metrics["final/val_loss"] == 99.0
    assert sent.data.metrics["checkpoint/last_val_loss"] < 99.0


def test_a_run_ended_when_it_ended_and_not_when_it_was_sent(ended: Run, tmp_path: Path) -> None:
    written = ended.start_time_ms + 90_000
    os.utime(ended.folder / RESULT, ns=(written * 10**6, written * 10**6))
    publish(ended)
    [sent] = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs([named("latest").experiment_id])
    assert (sent.info.start_time, sent.info.end_time) == (ended.start_time_ms, written)


def test_two_commands_that_send_one_run_send_each_checkpoint_once(ended: Run, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(publish, [ended] * 4))
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    models = client.search_logged_models([named("latest").experiment_id])
    assert sorted(model.name.partition("-")[0] for model in models) == ["best", "last"]


def test_who_trains_waits_for_nobody_who_sends(ended: Run) -> None:
    (ended.folder / OWNER).unlink(missing_ok=True)
    with FileLock(ended.folder / PUBLISHING):
        settle(ended.tracking, None)
    assert tracked.tracked_runs(ended.tracking) == []
    settle(ended.tracking, None)
    assert [sent.mlflow_status for sent in tracked.tracked_runs(ended.tracking)] == ["finished"]


def test_what_fails_behind_the_end_of_a_run_leaves_it_as_it_ended(ended: Run) -> None:
    publish(ended)
    with pytest.raises(ConnectionError), closing(named("latest")):
        raise ConnectionError("the last word to Prefect")
    [sent] = tracked.tracked_runs(ended.tracking)
    assert (sent.mlflow_status, sent.tags["minigpt.status"]) == ("finished", "completed")
    assert tracking.ERROR not in sent.tags


def test_a_run_that_goes_on_has_no_error_any_more(ended: Run) -> None:
    run = tracking.attach(ended)
    tell_status(run, "KILLED", "interrupted", {tracking.ERROR: "its process died"})
    assert [sent.tags[tracking.ERROR] for sent in tracked.tracked_runs(ended.tracking)] == ["its process died"]
    tell_status(run, "RUNNING", "running", {})
    [sent] = tracked.tracked_runs(ended.tracking)
    assert sent.mlflow_status == "running"
    assert tracking.ERROR not in sent.tags


def test_a_large_file_may_take_its_time(ended: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TIMEOUT, raising=False)
    client_of(ended.tracking)
    assert os.environ[TIMEOUT] == str(TIMEOUT_SECONDS)
    with patience_for(2_000_000_000):
        assert int(os.environ[TIMEOUT]) >= 600
    assert os.environ[TIMEOUT] == str(TIMEOUT_SECONDS)
    monkeypatch.setenv(TIMEOUT, "7")
    with patience_for(2_000_000_000):
        assert os.environ[TIMEOUT] == "7", "the user's own"


@pytest.mark.parametrize("damaged", [b"{", b"{}", b"\xff", b"3", None], ids=str)
@pytest.mark.parametrize("name", [FACTS, RESULT])
def test_a_damaged_file_is_told_in_a_sentence(ended: Run, name: str, damaged: bytes | None) -> None:
    path = ended.folder / name
    path.write_bytes(damaged) if damaged is not None else path.unlink()
    if name == RESULT and damaged is None:
        assert ended.result() is None
        return
    with pytest.raises(InputError, match=f"{path} is (damaged|not there).*; (put it back|delete it)"):
        ended.facts() if name == FACTS else ended.result()
    with pytest.raises(InputError):
        publish(ended)
