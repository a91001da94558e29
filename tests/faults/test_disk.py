"""A disk that is really full, a file system of a few megabytes in memory, and one that may not be written."""

import os
import random
import subprocess
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from minigpt.io.store import get_or_make
from tests.faults import checks
from tests.faults.tiny import FORKS, Template

SIZE_BYTES = 16_000_000
ROOM_BYTES = 1_500_000
NOBODY = 65534


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "none", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root, with the right to mount, can make a file system of a few megabytes")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill_as_nobody(cache: Path, answer: Connection) -> None:
    """In a process of its own: root may write everywhere."""
    os.seteuid(NOBODY)
    try:
        get_or_make(cache, "kind", {"a": 1}, lambda _: {})
    except OSError as error:
        answer.send(error)
    answer.send(None)


def test_cache_not_writable() -> None:
    """A cache that this user may not write: an error that names the place, and nothing is written"""
    if os.geteuid():
        pytest.skip("only root can make a folder that another user may not write")
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        (Path(place) / "kind").mkdir()
        here, there = FORKS.Pipe()
        process = FORKS.Process(target=fill_as_nobody, args=(Path(place), there))
        process.start()
        process.join(60)
        error = here.recv()
        assert isinstance(error, PermissionError)
        assert str(error.filename).startswith(place)
        assert [path.name for path in Path(place).rglob("*")] == ["kind"]


@pytest.mark.trials(default=4, whole=60)
def test_full(trial: int, small_disk: Path, template: Template, source: random.Random) -> None:
    """A disk that is full after some bytes: foreseen or a named error, and the run goes on once there is room"""
    run = template.copy(small_disk / "home")
    ballast = small_disk / "ballast"
    state = os.statvfs(small_disk)
    ballast.write_bytes(bytes(state.f_bavail * state.f_bsize - source.randrange(ROOM_BYTES)))
    code = run.live()
    ballast.unlink()
    if code != 0:
        assert code == 1
        assert checks.NAMED.search(run.log) or "make room" in run.log, run.log
    run.finish()
    assert checks.outcome(run) == template.outcome
