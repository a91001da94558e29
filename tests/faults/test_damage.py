"""Bit rot and lost files: every damage is found, the checkpoint before is used and told, and none is never a start."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt.checkpoints.folders import checkpoint_to_resume, written_checkpoints
from minigpt.io.journal import JOURNAL, read_journal
from minigpt.io.records import ResumeRecord, of_kind
from tests.faults import checks
from tests.faults.tiny import Template, TinyRun
from tests.faults.victim import Signal

FLIPS = 100


@pytest.fixture(scope="module")
def stopped(template: Template, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """The tiny run, killed when it begins its last checkpoint: it has full ones of step 6 and 9."""
    run = template.copy(tmp_path_factory.mktemp("stopped") / "home")
    run.live(at=Signal("checkpoint begun", "before", template.passings["checkpoint begun"]))
    assert [path.name for path in written_checkpoints(run.checkpoints, "last")] == ["last-0000006", "last-0000009"]
    return run


@pytest.fixture
def broken(stopped: TinyRun, tmp_path: Path) -> TinyRun:
    """A copy of it, to be broken."""
    return stopped.copy(tmp_path / "broken")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def replace(path: Path, data: bytes) -> None:
    path.unlink()  # its other name, if it is a link, keeps what it has
    path.write_bytes(data)


@pytest.mark.trials(default=2, whole=10)
def test_flipped_bits(
    trial: int, broken: TinyRun, source: random.Random, record_property: Callable[[str, object], None]
) -> None:
    """One bit flipped in any file of the newest checkpoint: found, and the one before is used"""
    record_property("trials", FLIPS)
    before, newest = written_checkpoints(broken.checkpoints, "last")
    for flip in range(FLIPS):
        path = source.choice(files(newest))
        data = path.read_bytes()
        flipped = bytearray(data)
        flipped[place := source.randrange(len(data))] ^= 1 << (bit := source.randrange(8))
        replace(path, bytes(flipped))
        found = checkpoint_to_resume(broken.checkpoints, [])
        assert found == (before, [newest.name]), f"flip {flip}: bit {bit} of byte {place} of {path.name}"
        replace(path, data)
    assert checkpoint_to_resume(broken.checkpoints, []) == (newest, [])


def damage(folder: Path, other: Path, how: str, source: random.Random) -> None:
    """Break a checkpoint, with the help of another one where that takes one."""
    path = source.choice(files(folder))
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "empty":
        replace(path, b"")
    elif how == "truncated":
        replace(path, data[: source.randrange(len(data))])
    elif how == "longer":
        replace(path, data + source.randbytes(source.randint(1, 9)))
    elif how == "swapped":
        second = source.choice([file for file in files(folder) if file != path])
        replace(path, second.read_bytes())
        replace(second, data)
    elif how == "of another step":  # a vocabulary is the same in both
        name = source.choice(["manifest.json", "weights.safetensors", "optimizer.safetensors"])
        replace(folder / name, (other / name).read_bytes())
    elif how == "no folder":
        shutil.rmtree(folder)


DAMAGES = ("missing", "empty", "truncated", "longer", "swapped", "of another step", "no folder")


@pytest.mark.trials(default=2, whole=29)
@pytest.mark.parametrize("how", DAMAGES)
def test_broken_files(how: str, trial: int, broken: TinyRun, template: Template, source: random.Random) -> None:
    """The newest checkpoint truncated, empty, swapped, missing, its manifest too: the one before is used, and told"""
    before, newest = written_checkpoints(broken.checkpoints, "last")
    damage(newest, before, how, source)
    broken.finish()
    resume = next(of_kind(read_journal(broken.folder / JOURNAL), ResumeRecord))
    assert (resume.after_step, resume.damaged) == (6, [newest.name])
    assert checks.outcome(broken) == template.outcome


@pytest.mark.trials(default=1, whole=5)
@pytest.mark.parametrize("how", DAMAGES)
def test_no_checkpoint_left(how: str, trial: int, broken: TinyRun, source: random.Random) -> None:
    """Every checkpoint broken: an error that says so, and never a start from step 0"""
    before, newest = written_checkpoints(broken.checkpoints, "last")
    recorded = (broken.folder / JOURNAL).read_bytes()
    if how == "of another step":
        for folder, other in ((newest, broken.checkpoints / "copy"), (before, newest)):
            shutil.copytree(folder, other, dirs_exist_ok=True)
        shutil.rmtree(newest)
        (broken.checkpoints / "copy").rename(newest)
        replace(newest / "manifest.json", (before / "manifest.json").read_bytes())
        replace(before / "weights.safetensors", source.randbytes(99))
    else:
        damage(before, newest, how, source)
        damage(newest, before, how, source)
    assert broken.live() == 1
    assert f"no checkpoint in {broken.checkpoints} is intact, the newest was {newest.name}" in broken.log
    assert (broken.folder / JOURNAL).read_bytes() == recorded
