"""A disk that is really full: a file system of a few megabytes in memory."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import checks
from tests.faults.test_syscalls import NAMED
from tests.faults.tiny import Template

SIZE_BYTES = 16_000_000
ROOM_BYTES = 1_500_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "none", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root, with the right to mount, can make a file system of a few megabytes")
    yield place
    subprocess.run(["umount", str(place)], check=True)


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
        assert NAMED.search(run.log) or "make room" in run.log, run.log
    run.finish()
    assert checks.outcome(run) == template.outcome
