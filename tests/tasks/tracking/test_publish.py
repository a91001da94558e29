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
from tasks.commands.find import runs_table
from tasks.home.settings import TrackingAddress
from tasks.runs.files import FACTS_FILE, RESULT_FILE
from tasks.runs.lease import LEASE_FILE
from tasks.runs.names import find_local_run
from tasks.runs.run import Run, unfinished
from tasks.tracking.client import TIMEOUT_SECONDS, TIMEOUT_VARIABLE, StoreClient, StoreError, local_path, patience_for
from tasks.tracking.live import closing_run, report_status
from tasks.tracking.publish import PUBLISH_LOCK, publish_run
from tasks.tracking.read import tracked_runs
from tasks.tracking.recovery import settle_dead_runs
from tasks.tracking.tracker import MlflowTracker
from tasks.tracking.write import ERROR_TAG, attach_to_mlflow


@pytest.fixture
def ended(smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of a run that MLflow has yet to hear of, in a home and a store of its own."""
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path))
    ours = shutil.ignore_patterns("artifacts", "published")
    shutil.copytree(smoke["run_dir"], tmp_path / "runs" / smoke["run_id"], ignore=ours)
    store = TrackingAddress(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="minigpt")
    run = replace(find_local_run("latest"), tracking=store, mlflow_id=None, experiment_id="", artifact_uri="")
    run.save()
    return run


def test_a_store_that_takes_no_checkpoint_has_all_the_rest(ended: Run, tmp_path: Path) -> None:
    attached = attach_to_mlflow(ended)
    blocking = (local_path(attached.artifact_uri) or tmp_path) / "checkpoints"
    blocking.parent.mkdir(parents=True)
    blocking.write_bytes(b"")
    with pytest.raises(StoreError):
        publish_run(ended)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    sent = client.get_run(attached.mlflow_id)
    assert (sent.info.status, sent.data.tags["minigpt.status"]) == ("FINISHED", "completed")
    assert {"final/val_loss", "bill/usd"} <= set(sent.data.metrics)
    assert not find_local_run("latest").is_published()
    (ended.folder / LEASE_FILE).unlink(missing_ok=True)
    assert list(runs_table(MlflowTracker(ended.tracking))["status"]) == ["completed, not synced"]
    blocking.unlink()
    publish_run(find_local_run("latest"))
    assert find_local_run("latest").is_published()
    assert {path.name for path in blocking.iterdir()} == {"best", "last"}


def test_a_damaged_result_of_one_run_holds_up_no_other(ended: Run, caplog: pytest.LogCaptureFixture) -> None:
    (ended.folder / LEASE_FILE).unlink(missing_ok=True)
    (ended.folder / RESULT_FILE).write_bytes(b"{")
    settle_dead_runs(MlflowTracker(ended.tracking), None)
    assert f"run {ended.run_id[:12]} still waits for MLflow: {ended.folder / RESULT_FILE} is damaged" in caplog.text
    assert list(unfinished()) == []


def test_only_a_run_that_was_opened_waits_to_be_resumed(ended: Run) -> None:
    (ended.folder / LEASE_FILE).unlink(missing_ok=True)
    (ended.folder / RESULT_FILE).unlink()
    assert [run.run_id for run in unfinished()] == [ended.run_id]
    (ended.folder / FACTS_FILE).unlink()
    assert list(unfinished()) == []


def test_after_a_divergence_a_checkpoint_has_its_own_losses(ended: Run, tmp_path: Path) -> None:
    """The result's are those of the weights that were kept, which may be older."""
    result = json.loads((ended.folder / RESULT_FILE).read_bytes())
    write_atomically(
        ended.folder / RESULT_FILE, json.dumps({**result, "status": "diverged", "val_loss": 99.0}).encode()
    )
    publish_run(ended)
    sent = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_run(find_local_run("latest").mlflow_id)
    assert sent.data.metrics["final/val_loss"] == 99.0
    assert sent.data.metrics["checkpoint/last_val_loss"] < 99.0


def test_a_run_ended_when_it_ended_and_not_when_it_was_sent(ended: Run, tmp_path: Path) -> None:
    written = ended.start_time_ms + 90_000
    os.utime(ended.folder / RESULT_FILE, ns=(written * 10**6, written * 10**6))
    publish_run(ended)
    [sent] = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs([find_local_run("latest").experiment_id])
    assert (sent.info.start_time, sent.info.end_time) == (ended.start_time_ms, written)


def test_two_commands_that_send_one_run_send_each_checkpoint_once(ended: Run, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(publish_run, [ended] * 4))
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    models = client.search_logged_models([find_local_run("latest").experiment_id])
    assert sorted(model.name.partition("-")[0] for model in models) == ["best", "last"]


def test_who_trains_waits_for_nobody_who_sends(ended: Run) -> None:
    (ended.folder / LEASE_FILE).unlink(missing_ok=True)
    with FileLock(ended.folder / PUBLISH_LOCK):
        settle_dead_runs(MlflowTracker(ended.tracking), None)
    assert tracked_runs(ended.tracking) == []
    settle_dead_runs(MlflowTracker(ended.tracking), None)
    assert [sent.mlflow_status for sent in tracked_runs(ended.tracking)] == ["finished"]


def test_what_fails_behind_the_end_of_a_run_leaves_it_as_it_ended(ended: Run) -> None:
    publish_run(ended)
    with pytest.raises(ConnectionError), closing_run(find_local_run("latest"), MlflowTracker(ended.tracking)):
        raise ConnectionError("the last word to Prefect")
    [sent] = tracked_runs(ended.tracking)
    assert (sent.mlflow_status, sent.tags["minigpt.status"]) == ("finished", "completed")
    assert ERROR_TAG not in sent.tags


def test_a_run_that_goes_on_has_no_error_any_more(ended: Run) -> None:
    run = attach_to_mlflow(ended)
    report_status(run, MlflowTracker(run.tracking), "KILLED", "interrupted", {ERROR_TAG: "its process died"})
    assert [sent.tags[ERROR_TAG] for sent in tracked_runs(ended.tracking)] == ["its process died"]
    report_status(run, MlflowTracker(run.tracking), "RUNNING", "running", {})
    [sent] = tracked_runs(ended.tracking)
    assert sent.mlflow_status == "running"
    assert ERROR_TAG not in sent.tags


def test_a_large_file_may_take_its_time(ended: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TIMEOUT_VARIABLE, raising=False)
    StoreClient(ended.tracking)
    assert os.environ[TIMEOUT_VARIABLE] == str(TIMEOUT_SECONDS)
    with patience_for(2_000_000_000):
        assert int(os.environ[TIMEOUT_VARIABLE]) >= 600
    assert os.environ[TIMEOUT_VARIABLE] == str(TIMEOUT_SECONDS)
    monkeypatch.setenv(TIMEOUT_VARIABLE, "7")
    with patience_for(2_000_000_000):
        assert os.environ[TIMEOUT_VARIABLE] == "7", "the user's own"


@pytest.mark.parametrize("damaged", [b"{", b"{}", b"\xff", b"3", None], ids=str)
@pytest.mark.parametrize("name", [FACTS_FILE, RESULT_FILE])
def test_a_damaged_file_is_told_in_a_sentence(ended: Run, name: str, damaged: bytes | None) -> None:
    path = ended.folder / name
    path.write_bytes(damaged) if damaged is not None else path.unlink()
    if name == RESULT_FILE and damaged is None:
        assert ended.result() is None
        return
    with pytest.raises(InputError, match=f"{path} is (damaged|not there).*; (put it back|delete it)"):
        ended.facts() if name == FACTS_FILE else ended.result()
    with pytest.raises(InputError):
        publish_run(ended)
