"""The scripts in examples/, run as a person runs them."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Workplace

EXAMPLES = Path(__file__).parents[2] / "examples"
MOST_LINES = 40


def run_example(name: str, *arguments: str, folder: Path, **environment: str) -> str:
    """What it prints; in a folder where nothing of ours lies."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", **environment},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_is_trained_without_prefect_and_mlflow(tmp_path: Path) -> None:
    """Its validation loss falls at each evaluation, it writes a sample, and it leaves nothing on the disk."""
    code = f"import runpy, sys; runpy.run_path({str(EXAMPLES / 'train.py')!r}); print('prefect' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    losses = [float(loss) for loss in re.findall(r"validation (\d\.\d{3}) nats", done.stdout)]
    assert len(losses) == 5
    assert losses == sorted(losses, reverse=True)
    assert losses[0] - losses[-1] > 1
    *_, sample, prefect = done.stdout.splitlines()
    assert sample
    assert prefect == "False"
    assert list(tmp_path.iterdir()) == []


def test_the_best_checkpoint_writes(smoke: dict[str, Any], tmp_path: Path) -> None:
    written = run_example("write.py", smoke["run_dir"], "The help", folder=tmp_path)
    assert written.startswith("The help")
    assert len(written) > 60
    assert written == run_example("write.py", smoke["run_dir"], "The help", folder=tmp_path)


def test_curves_of_two_runs_are_compared(smoke: dict[str, Any], workplace: Workplace, tmp_path: Path) -> None:
    other = workplace.json("run", "smoke", "--set", "training.max_steps=40", "--set", "seed=7")
    store = f"sqlite:///{workplace.home}/mlflow.db"
    table = run_example(
        "compare_curves.py", smoke["run_id"], other["run_id"], folder=tmp_path, MLFLOW_TRACKING_URI=store
    )
    heading, _, *rows = table.splitlines()
    assert heading.split() == [smoke["run_id"][:12], other["run_id"][:12], "difference"]
    steps = {int(row.split()[0]): row.split()[1:] for row in rows}
    assert list(steps) == [0, 20, 40, 60]
    assert float(steps[60][0]) == pytest.approx(smoke["best_val_loss"], abs=1e-4)
    assert steps[60][1:] == ["NaN", "NaN"]
    first, second, difference = map(float, steps[20])
    assert difference == pytest.approx(second - first, abs=2e-4)


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_examples_are_short_and_use_public_names(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert not re.findall(r"(?:from|import) (?:minigpt\.|tasks|flows)", text)
