"""`minigpt evaluate`: models of runs on one text."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from minigpt.checkpoints.folders import written_checkpoints
from minigpt.data.split import split_byte
from minigpt.errors import InputError
from minigpt.evaluation.contamination import SHINGLE_BYTES
from minigpt.training.job import read_job
from tasks.commands.evaluate import evaluate_runs
from tasks.home.settings import TrackingSettings
from tasks.runs.files import CORPUS_FILE, TRACKING_FILE
from tasks.tracking.tracker import open_tracker
from tests.conftest import HELD_OUT, Workplace

OFFLINE = open_tracker(TrackingSettings(offline=True))


@pytest.fixture(scope="module")
def nights(smoke: dict[str, Any], workplace: Workplace) -> list[dict[str, Any]]:
    """A short run and a longer one."""
    return [smoke, workplace.json("run", "smoke", "--set", "training.max_steps=200")]


@pytest.fixture
def home(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINIGPT_HOME", str(workplace.home))
    return workplace.home


def sides(smoke: dict[str, Any]) -> tuple[bytes, bytes]:
    """What it trained on and what it was measured on."""
    folder = Path(smoke["run_dir"])
    corpus = folder / CORPUS_FILE
    with corpus.open("rb") as file:
        cut = split_byte(file, read_job(folder).config.split)
    return corpus.read_bytes()[:cut], corpus.read_bytes()[cut:]


def runs(text: bytes) -> list[bytes]:
    letters = b"".join(text.split())
    return [letters[start : start + SHINGLE_BYTES] for start in range(len(letters) - SHINGLE_BYTES + 1)]


def test_a_run_on_its_own_validation_text_is_what_the_run_says(
    smoke: dict[str, Any], home: Path, tmp_path: Path
) -> None:
    """But for the tokens behind the last whole window, which the run leaves out."""
    trained_on, unread = sides(smoke)
    text = tmp_path / "val.txt"
    text.write_bytes(unread)
    [found] = json.loads(evaluate_runs(OFFLINE, [smoke["run_id"], smoke["run_id"]], text, "last", as_json=True))
    assert found["bits_per_byte"] == pytest.approx(smoke["bits_per_byte"], rel=0.01)
    assert found["checkpoint"] == "last-0000060"
    read = set(runs(trained_on))
    assert found["read_share"] == sum(run in read for run in runs(unread)) / len(runs(unread))
    assert 0 < found["read_share"] < 1, "sections of Python's topics repeat each other"
    assert found["above_the_best"] == {"bits_per_byte": 0.0, "standard_error": 0.0, "may_be_chance": True}


def test_who_has_read_the_text_is_told(smoke: dict[str, Any], home: Path, tmp_path: Path) -> None:
    """A night's run may have trained on what an older one was measured on."""
    trained_on, _ = sides(smoke)
    text = tmp_path / "text.txt"
    text.write_bytes(trained_on[:20_000])
    said = evaluate_runs(OFFLINE, [smoke["run_id"]], text, "best", as_json=False)
    assert "100.0% of this text occurs in the training text of" in said
    assert "the loss there measures memorization" in said


def test_a_text_that_was_read_decides_nothing(nights: list[dict[str, Any]], home: Path, tmp_path: Path) -> None:
    trained_on, _ = sides(nights[0])
    ids = [night["run_id"] for night in nights]
    (tmp_path / "read.txt").write_bytes(trained_on[:20_000])
    (tmp_path / "unread.txt").write_bytes(HELD_OUT.read_bytes())
    said = evaluate_runs(OFFLINE, ids, tmp_path / "read.txt", "best", as_json=False)
    assert said.startswith("No fair test: 100% of this text")
    assert "On this text" not in said
    assert f"On this text {ids[1][:12]} is better than {ids[0][:12]}." in evaluate_runs(
        OFFLINE, ids, tmp_path / "unread.txt", "best", as_json=False
    )


def test_a_text_too_short_to_tell_anything_is_refused(smoke: dict[str, Any], home: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("A short text.")
    with pytest.raises(InputError, match="has 13 bytes, fewer than the 3,200"):
        evaluate_runs(OFFLINE, [smoke["run_id"]], tmp_path / "short.txt", "best", as_json=False)


@pytest.mark.parametrize("kept", [None, b"\xff of another text"])
def test_a_run_whose_text_is_not_here_may_have_read_any(
    smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bytes | None
) -> None:
    """Gone or changed by hand, and MLflow is not asked."""
    folder = tmp_path / "runs" / smoke["run_id"]
    shutil.copytree(smoke["run_dir"], folder, ignore=shutil.ignore_patterns(CORPUS_FILE, "artifacts"))
    tracked = json.loads((folder / TRACKING_FILE).read_text())
    (folder / TRACKING_FILE).write_text(json.dumps(tracked | {"artifact_uri": "", "mlflow_id": None}))
    if kept is not None:
        (folder / CORPUS_FILE).write_bytes(kept)
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path))
    text = tmp_path / "text.txt"
    text.write_bytes(sides(smoke)[0][:4000])
    said = evaluate_runs(OFFLINE, [smoke["run_id"]], text, "best", as_json=False)
    assert f"The training text of {smoke['run_id'][:12]} is not here" in said
    assert not (tmp_path / "mlflow.db").exists()
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(InputError, match="has no checkpoints/best here, and MLflow is not asked for it"):
        evaluate_runs(OFFLINE, [smoke["run_id"]], text, "best", as_json=False)


def test_a_run_of_which_mlflow_alone_has_the_checkpoint_is_measured(
    smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There it has no step in its name."""
    folder = tmp_path / "runs" / smoke["run_id"]
    shutil.copytree(smoke["run_dir"], folder, ignore=shutil.ignore_patterns("artifacts"))
    kept = folder / "artifacts" / "checkpoints" / "best"
    kept.parent.mkdir(parents=True)
    written_checkpoints(folder / "checkpoints", "best")[-1].rename(kept)
    tracked = json.loads((folder / TRACKING_FILE).read_text())
    (folder / TRACKING_FILE).write_text(json.dumps(tracked | {"artifact_uri": str(folder / "artifacts")}))
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path))
    text = tmp_path / "text.txt"
    text.write_bytes(sides(smoke)[1])
    said = evaluate_runs(OFFLINE, [smoke["run_id"], smoke["run_id"]], text, "best", as_json=False)
    assert "occurs in the training text of" in said
    assert "untrained" not in said
