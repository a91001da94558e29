"""Files of a run that MLflow alone has."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from minigpt.errors import InputError
from tasks.home.settings import TrackingAddress, TrackingSettings
from tasks.runs.run import Run
from tasks.tracking.live import create_run
from tasks.tracking.read import fetch_artifact, tracked_runs
from tasks.tracking.tracker import MlflowTracker, open_tracker


def test_a_download_that_breaks_off_leaves_nothing_that_the_next_one_takes_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path / "home"))
    tracking = TrackingAddress(tracking_uri="http://127.0.0.1:9", experiment="minigpt")
    run = Run("1" * 32, "far", tracking, 0, {}, {}, mlflow_id="1" * 32, artifact_uri="mlflow-artifacts:/1")

    def breaks_off(_: MlflowClient, run_id: str, path: str, dst_path: str) -> str:
        (Path(dst_path) / path).mkdir()
        (Path(dst_path) / path / "weights.safetensors").write_bytes(b"a part")
        raise ConnectionResetError("connection reset by peer")

    monkeypatch.setattr(MlflowClient, "download_artifacts", breaks_off)
    for _ in range(2):
        with pytest.raises(InputError, match="has no checkpoints"):
            fetch_artifact(run, "checkpoints")
    assert [path for path in run.folder.rglob("*") if path.is_file()] == []


def test_a_home_that_was_moved_is_told_how_to_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made again in the old place, where MLflow would look for it."""
    old, new = tmp_path / "old", tmp_path / "new"
    monkeypatch.setenv("MINIGPT_HOME", str(old))
    run = create_run(open_tracker(TrackingSettings(experiment="minigpt")), "moved", {}, {})
    old.rename(new)
    monkeypatch.setenv("MINIGPT_HOME", str(new))
    assert [known.name for known in tracked_runs(TrackingSettings().address())] == ["moved"]
    for there, gone in (
        (MlflowTracker(run.tracking), f"the folder {old} of the tracking store mlflow.db does not exist"),
        (open_tracker(TrackingSettings(experiment="minigpt")), f"the folder {old}, where MLflow keeps files, does not"),
    ):
        with pytest.raises(InputError, match=f"{gone}.*`mkdir -p {tmp_path} && ln -s {new} {old}`"):
            create_run(there, "again", {}, {})
        assert not old.exists()
    old.symlink_to(new)
    again = create_run(open_tracker(TrackingSettings(experiment="minigpt")), "again", {}, {})
    assert again.folder.parent == new / "runs"
    assert {known.name for known in tracked_runs(run.tracking)} == {"moved", "again"}
