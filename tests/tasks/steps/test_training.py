"""What is said of a training process that ended without an end; each one here really ran out of something."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from minigpt.errors import FailedError, InputError
from minigpt.io.records import CheckpointRecord, Record
from tasks.home.settings import TrackingSettings
from tasks.runs.run import Run
from tasks.steps.training import _last_checkpoint, failure
from tests import records

LIMITED = "import resource, torch, safetensors.torch\n"
CAPPED = "resource.setrlimit(resource.RLIMIT_AS, (1 << 20, 1 << 20))\n"
HUNGRY = {
    "Python": "bytearray(1 << 50)",
    "torch": LIMITED + "torch.empty(1 << 50)",
    "Rust": LIMITED + CAPPED + "safetensors.torch.save_file({'a': torch.zeros(4)}, sys.argv[1])",
    "the linker": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))\nimport torch",
}


def ended(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import os, sys\n{code}", str(folder / "tensors")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("who", HUNGRY)
def test_memory_is_named(who: str, tmp_path: Path) -> None:
    done = ended(HUNGRY[who], tmp_path)
    assert done.returncode not in (0, 2)
    error = failure("0123456789abcdef", done.returncode, done.stderr, True)
    assert isinstance(error, FailedError)
    assert "the training process ran out of memory (" in str(error), done.stderr
    assert "`minigpt resume 0123456789ab` continues from its last checkpoint" in str(error)
    assert "\n" not in str(error)


def test_killed(tmp_path: Path) -> None:
    done = ended("os.kill(os.getpid(), 9)", tmp_path)
    assert done.returncode == -signal.SIGKILL
    assert "was killed (SIGKILL)" in str(failure("0123456789abcdef", done.returncode, done.stderr, True))


def test_no_checkpoint_is_promised_before_there_is_one(tmp_path: Path) -> None:
    done = ended("os.kill(os.getpid(), 9)", tmp_path)
    assert "`minigpt resume 0123456789ab` starts it again" in str(failure("0123456789abcdef", -9, done.stderr, False))


def test_what_is_wrong_with_the_input_is_its_last_line(tmp_path: Path) -> None:
    done = ended("sys.exit(print('first', file=sys.stderr) or print('the reason', file=sys.stderr) or 2)", tmp_path)
    error = failure("0123456789abcdef", done.returncode, done.stderr, True)
    assert isinstance(error, InputError)
    assert str(error) == "the reason"


def test_any_other_end_shows_what_was_said(tmp_path: Path) -> None:
    done = ended("[][0]", tmp_path)
    assert "IndexError: list index out of range" in str(failure("0123456789abcdef", done.returncode, done.stderr, True))


@pytest.mark.parametrize(
    ("evaluated", "last_step", "kept"),
    [
        ((0,), 11, "last-0000010"),  # the loss of step 11 is that of the weights of step 10
        ((0,), 10, "best-0000000"),  # nobody knows what became of them
        ((0, 10), 10, "last-0000010"),
    ],
)
def test_what_is_kept_of_a_divergence_was_measured(
    evaluated: Sequence[int], last_step: int, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path))
    run = Run("diverged", "diverged", TrackingSettings().address(), 0, {}, {})
    for name in ("best-0000000", "last-0000010"):
        (run.folder / "checkpoints" / name).mkdir(parents=True)
    journal: list[Record] = [
        CheckpointRecord(step=0, name="best-0000000"),
        CheckpointRecord(step=10, name="last-0000010"),
    ]
    journal += [records.evaluation(step) for step in evaluated]
    journal += [records.step(step) for step in range(1, last_step + 1)]
    assert _last_checkpoint(run, journal, "diverged").name == kept
