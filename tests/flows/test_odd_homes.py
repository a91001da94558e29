"""Homes as people have them: with odd letters in their path, runs that died at once, and files that someone edited."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from flows.resume import recorded_config
from minigpt.errors import InputError
from tasks.commands.verify import verify_run
from tasks.runs.names import find_local_run
from tasks.tracking.sync import sync_runs
from tasks.tracking.tracker import OfflineTracker
from tests.conftest import Workplace

pytestmark = pytest.mark.slow
SHORT = ("smoke", "--set", "training.max_steps=20")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    folder = tmp_path_factory.mktemp("odd") / "Mein Projekt, größer als 50%"
    folder.mkdir()
    place = Workplace(folder)
    with place.prefect_server():
        yield place


@pytest.fixture(scope="module")
def result(place: Workplace) -> dict[str, Any]:
    return place.json("run", *SHORT)


def test_mlflow_finds_the_files_of_a_path_with_spaces_and_umlauts(place: Workplace, result: dict[str, Any]) -> None:
    client = MlflowClient(f"sqlite:///{place.home / 'mlflow.db'}")
    assert {"report.md", "checkpoints"} <= {entry.path for entry in client.list_artifacts(result["run_id"])}
    assert client.list_artifacts(result["run_id"], "checkpoints/best")
    assert list(place.folder.parent.iterdir()) == [place.folder]


def test_a_run_that_died_at_once_keeps_no_other_from_mlflow(
    place: Workplace, result: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = place.json("run", *SHORT, "--offline")
    died = place.home / "runs" / ("d1ed" * 8)
    died.mkdir()
    saved = json.loads((Path(waiting["run_dir"]) / "tracking.json").read_text())
    (died / "tracking.json").write_text(json.dumps(saved | {"run_id": died.name, "start_time_ms": 2**42}))
    monkeypatch.setenv("MINIGPT_HOME", str(place.home))
    [sent] = sync_runs(None)
    assert waiting["run_id"] in sent
    with pytest.raises(InputError, match="stopped before it was opened"):
        list(sync_runs(died.name))
    with pytest.raises(InputError, match="stopped before it was opened"):
        recorded_config(find_local_run(died.name))
    (died / "journal.jsonl").touch()
    with pytest.raises(InputError, match="stopped before its training began"):
        run = find_local_run(died.name)
        list(verify_run(run, OfflineTracker(run.tracking)))


def test_a_kept_text_that_was_edited_is_not_taken_for_the_one_that_was_read(
    place: Workplace, result: dict[str, Any]
) -> None:
    kept = Path(result["run_dir"]) / "corpus.txt"
    kept.write_bytes(kept.read_bytes() + b"edited")  # in place: the cache has the same file
    done = place.run("rerun", result["run_id"])
    assert "fetched from its source again" in done.stderr
    assert f"identical to {result['run_id']}" in done.stdout


def test_a_run_of_a_deleted_experiment_keeps_no_other_from_mlflow(place: Workplace, result: dict[str, Any]) -> None:
    waiting = place.json("run", *SHORT, "--offline", "--experiment", "gone")
    client = MlflowClient(f"sqlite:///{place.home / 'mlflow.db'}")
    client.delete_experiment(client.create_experiment("gone"))
    done = place.run("run", *SHORT, "--json")
    assert done.returncode == 0, done.stderr
    assert (
        f"run {waiting['run_id'][:12]} still waits for MLflow: the MLflow experiment 'gone' is deleted" in done.stderr
    )
    assert client.get_run(json.loads(done.stdout)["run_id"]).info.status == "FINISHED"
