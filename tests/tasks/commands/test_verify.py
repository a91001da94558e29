"""`minigpt verify` finds each thing that may be wrong with a run, and nothing else."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.cli.queries import verify_command
from minigpt.checkpoints.folders import newest_intact, written_checkpoints
from minigpt.errors import InputError
from minigpt.io.journal import JOURNAL, read_journal
from minigpt.training.job import CHECKPOINTS, read_job
from tasks.commands.verify import Check, verify_run
from tasks.home.settings import TrackingAddress
from tasks.promotion.weights import checkpoint_of
from tasks.runs.files import RESULT_FILE
from tasks.runs.names import find_local_run
from tasks.runs.run import Run
from tasks.tracking.live import create_run
from tasks.tracking.metrics import MetricPoints
from tasks.tracking.publish import publish_run
from tasks.tracking.tracker import Tracker, tracker_at
from tasks.tracking.write import attach_to_mlflow, send_points
from tests.conftest import edit_record

CHECKS = ["corpus", "journal", "best", "last", "last", "best loss", "weights", "last loss", "MLflow"]


@pytest.fixture
def run(smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A copy of a whole run in a home of its own."""
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path))
    ours = shutil.ignore_patterns("published", "artifacts")
    shutil.copytree(smoke["run_dir"], tmp_path / "runs" / smoke["run_id"], ignore=ours)
    threads = torch.get_num_threads()
    yield find_local_run("latest")
    torch.set_num_threads(threads)


def verified(run: Run, *, offline: bool = False) -> list[Check]:
    return list(verify_run(run, tracker_at(run.tracking, offline=offline)))


def wrong(run: Run, *, offline: bool = True) -> list[str]:
    return [check.name for check in verified(run, offline=offline) if not check.holds]


def test_a_whole_run_holds_in_everything_that_is_looked_at(run: Run) -> None:
    checks = verified(run, offline=True)
    assert [check.holds for check in checks] == [True] * len(CHECKS)
    assert [check.name.partition("-0")[0] for check in checks] == CHECKS


def elsewhere(run: Run, tracking_uri: str, mlflow_id: str | None = "known") -> Run:
    asked = run.tracking.model_copy(update={"tracking_uri": tracking_uri})
    return replace(run, tracking=asked, mlflow_id=mlflow_id)


def test_a_store_that_is_gone_is_found_and_hides_nothing_else(run: Run, tmp_path: Path) -> None:
    checks = verified(elsewhere(run, f"sqlite:///{tmp_path}/gone.db"))
    assert [check.name for check in checks if not check.holds] == ["MLflow"]
    assert [check.name.partition("-0")[0] for check in checks] == CHECKS
    assert checks[-1].found == f"the store sqlite:///{tmp_path}/gone.db is gone; put it back"
    assert not (tmp_path / "gone.db").exists(), "nothing is made by asking"


def test_a_store_that_has_lost_the_run_is_found(run: Run, here: Tracker) -> None:
    create_run(here, "another", {}, {})
    *_, last = verified(elsewhere(run, here.address.tracking_uri))
    assert (last.name, last.holds) == ("MLflow", False)


def test_of_a_run_that_has_not_ended_the_way_to_its_end_is_told(run: Run, here: Tracker) -> None:
    """MLflow lacks what that process had yet to send."""
    (run.folder / RESULT_FILE).unlink()
    unknown = elsewhere(run, here.address.tracking_uri, mlflow_id=None)
    unknown.save()
    *_, last = verified(attach_to_mlflow(unknown))
    way_out = f"sends what is missing; it has not ended: `minigpt resume {run.run_id[:12]}` finishes it"
    assert last.found.endswith(way_out)


def test_a_run_that_mlflow_has_yet_to_get_is_told(run: Run, tmp_path: Path) -> None:
    *_, last = verified(elsewhere(run, f"sqlite:///{tmp_path}/gone.db", mlflow_id=None))
    assert last.holds
    assert last.found == f"the run is not there yet; `minigpt sync {run.run_id[:12]}` sends it"


def test_a_server_that_does_not_answer_is_told_before_anything_is_read(run: Run) -> None:
    elsewhere(run, "http://127.0.0.1:9").save()
    with pytest.raises(InputError, match="no MLflow server answers at"):
        verify_command(run.run_id)


def test_a_changed_text_is_found(run: Run) -> None:
    corpus = run.folder / "corpus.txt"
    data = corpus.read_bytes()
    corpus.unlink()  # other runs have the same file
    corpus.write_bytes(b"#" + data[1:])
    assert wrong(run) == ["corpus"]


def test_a_changed_loss_of_a_step_is_found(run: Run) -> None:
    edit_record(run.folder, "step", 7, lambda record: record.update(loss=record["loss"] + 2**-40))
    assert wrong(run) == ["journal"]


def test_a_step_that_is_gone_is_found(run: Run) -> None:
    edit_record(run.folder, "step", 7, lambda record: record.clear())
    assert wrong(run) == ["journal"]


def test_other_weights_than_those_that_the_training_ended_with_are_found(run: Run) -> None:
    edit_record(run.folder, "end", 60, lambda record: record.update(weights_sha256="0" * 64))
    assert wrong(run) == ["weights"]


def test_a_curve_that_is_not_that_of_the_weights_is_found(run: Run) -> None:
    edit_record(run.folder, "evaluation", 60, lambda record: record.update(val_loss=record["val_loss"] + 1e-3))
    assert "last loss" in wrong(run)


def test_a_journal_that_cannot_be_read_is_found(run: Run) -> None:
    path = run.folder / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"loss"', b'"loss', 1))
    assert wrong(run) == ["journal"]


@pytest.mark.parametrize("role", ["best", "last"])
def test_a_checkpoint_that_is_gone_is_found(run: Run, role: str, caplog: pytest.LogCaptureFixture) -> None:
    *older, newest = written_checkpoints(run.folder / CHECKPOINTS, role)
    shutil.rmtree(newest)
    assert newest.name in wrong(run)
    if older:
        assert checkpoint_of(run, role, tracker_at(run.tracking, offline=True)) == older[-1]
        assert f"{newest.name} of run {run.run_id[:12]} is gone: {older[-1].name} is used instead" in caplog.text


def test_a_checkpoint_under_another_ones_name_is_found(run: Run) -> None:
    *_, older, newest = written_checkpoints(run.folder / CHECKPOINTS, "last")
    shutil.rmtree(newest)
    shutil.copytree(older, newest)
    assert newest.name in wrong(run)
    assert newest_intact(run.folder / CHECKPOINTS, "last") == older


@pytest.mark.parametrize("what", ["whole", "missing", "twice"])
def test_what_mlflow_lacks_or_has_twice_is_found(what: str, run: Run, tmp_path: Path) -> None:
    store = TrackingAddress(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="minigpt")
    unsent = replace(run, tracking=store, mlflow_id=None, experiment_id="", artifact_uri="")
    unsent.save()
    curves = MetricPoints(read_job(run.folder))
    points = [point for record in read_journal(run.folder / JOURNAL) for point in curves.points(record)]
    if what == "missing":
        attached = attach_to_mlflow(unsent)
        send_points(attached, points[1:])
    else:
        publish_run(unsent)
        attached = find_local_run("latest")
    if what == "twice":
        send_points(attached, [replace(points[0], time_ms=points[0].time_ms + 1)])
    assert wrong(attached, offline=False) == ([] if what == "whole" else ["MLflow"])
