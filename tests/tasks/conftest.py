"""What tests of what is tracked share."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minigpt.io.store import write_atomically
from minigpt.training.job import TrainingJob, read_job
from tasks.home.settings import TrackingAddress
from tasks.runs.files import RESULT_FILE
from tasks.runs.result import Judgement
from tasks.runs.run import Run, load_run
from tasks.steps.held_out import judge_on_held_out
from tasks.steps.training import Trained
from tasks.tracking.tracker import MlflowTracker
from tests.conftest import HELD_OUT, Workplace


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowTracker:
    """A home without runs, and its own store."""
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path))
    return MlflowTracker(TrackingAddress(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="minigpt"))


@pytest.fixture(scope="session")
def nights(smoke: dict[str, Any], workplace: Workplace) -> list[dict[str, Any]]:
    """Three runs of one name: of 30 steps, of 200, and of 31; the text is no corpus of theirs."""
    held_out = ("--set", "name=nightly", "--set", f"held_out.source={HELD_OUT}")
    return [
        workplace.json("run", "smoke", *held_out, "--set", f"training.max_steps={steps}") for steps in (30, 200, 31)
    ]


@pytest.fixture
def copies(nights: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The same in a home where they may be changed, and a fourth that is judged next."""
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path))
    for night in nights:
        folder = Path(night["run_dir"])
        shutil.copytree(folder, tmp_path / "runs" / folder.name, ignore=shutil.ignore_patterns("artifacts"))
    runs = [load_run(tmp_path / "runs" / night["run_id"]) for night in nights]
    return [*runs, replace(runs[0], run_id="0" * 32)]


def with_config(job: TrainingJob, **parts: Any) -> TrainingJob:
    """The same job with these parts of its config."""
    return job.model_copy(update={"config": job.config.model_copy(update=parts)})


def change_judgement(run: Run, **changes: Any) -> None:
    """Of a run's result; without any, it has none."""
    judgement = json.loads((run.folder / RESULT_FILE).read_text())["held_out"]
    change_result(run, held_out={**judgement, **changes} if changes else None)


def change_result(run: Run, **changes: Any) -> None:
    path = run.folder / RESULT_FILE
    write_atomically(path, json.dumps({**json.loads(path.read_text()), **changes}).encode())


def judged(run: Run, source: str | Path = HELD_OUT, status: str = "completed") -> Judgement:
    job = read_job(run.folder)
    trained = Trained(status, 1, 1.0, "", run.folder, None, True)  # type: ignore[arg-type]
    return judge_on_held_out.fn(run, job, trained, str(source))
