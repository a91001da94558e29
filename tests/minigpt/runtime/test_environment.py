"""How the training process and a command are started: threads, and memory that is kept and comes in huge pages."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from minigpt.runtime import machine
from minigpt.runtime.config import TUNABLES, EnvironmentConfig
from minigpt.runtime.machine import available_cores
from minigpt.runtime.startup import COMMAND_VARIABLES, SPINS

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def test_what_the_user_tunes_is_kept() -> None:
    inherited = {TUNABLES: "glibc.malloc.hugetlb=2:glibc.malloc.perturb=7"}
    assert EnvironmentConfig().variables(inherited)[TUNABLES] == "glibc.malloc.perturb=7:glibc.malloc.hugetlb=1"
    assert TUNABLES not in EnvironmentConfig(keep_memory=False).variables({})
    assert EnvironmentConfig().variables({SPINS: "7"})[SPINS] == "7"


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[madvise]" not in HUGE_PAGES.read_text(),
    reason="the system gives huge pages to all or to none",
)
def test_big_tensors_lie_in_huge_pages() -> None:
    def huge_kilobytes(started: Mapping[str, str]) -> int:
        script = (
            "import torch\n"
            "from minigpt.runtime.config import EnvironmentConfig\n"
            "from minigpt.runtime.environment import apply_environment\n"
            "apply_environment(EnvironmentConfig())\n"
            "tensor = torch.ones(32 << 20)\n"
            "lines = open('/proc/self/smaps_rollup').read().splitlines()\n"
            "print(next(line.split()[1] for line in lines if line.startswith('AnonHugePages')))\n"
        )
        variables = {**os.environ, **COMMAND_VARIABLES, **started}
        return int(
            subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, check=True).stdout
        )

    assert huge_kilobytes(EnvironmentConfig(keep_memory=False).variables(os.environ)) < 32_000
    assert huge_kilobytes(EnvironmentConfig().variables(os.environ)) > 96_000
    assert huge_kilobytes(COMMAND_VARIABLES) > 96_000


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000", 64), ("150000 100000", 2), ("6400000 100000", 64), (None, 64), ("50000 100000", 1)],
)
def test_a_container_uses_the_cores_that_it_is_granted(
    limit: str | None, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "OWN_CGROUP", tmp_path / "cgroup")
    (tmp_path / "cgroup").write_text("0::/a.slice/b\n")
    if limit is not None:
        (tmp_path / "a.slice" / "b").mkdir(parents=True)
        (tmp_path / "a.slice" / "b" / "cpu.max").write_text(f"{limit}\n")
    assert available_cores() == cores


def test_the_number_of_threads_is_what_was_asked_for_whatever_the_caller_has_set() -> None:
    script = (
        "import torch\n"
        "x = torch.randn(1 << 20, generator=torch.Generator().manual_seed(1))\n"
        "print(torch.get_num_threads(), x.sum().item().hex())\n"
    )
    config = EnvironmentConfig(threads=2)

    def printed(caller: dict[str, str]) -> bytes:
        variables = {**os.environ, **caller, **config.variables(caller)}
        return subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, check=True).stdout

    assert printed({"OMP_THREAD_LIMIT": "1"}) == printed({"OMP_DYNAMIC": "true"}) == printed({})
