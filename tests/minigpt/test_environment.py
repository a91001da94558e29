"""How the training process is started: its threads, and memory that is kept and comes in huge pages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minigpt.environment import TUNABLES, EnvironmentConfig
from minigpt.threads import SPINS

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
    def huge_kilobytes(config: EnvironmentConfig) -> int:
        script = (
            "import torch\n"
            "from minigpt import environment\n"
            "environment.apply(environment.EnvironmentConfig())\n"
            "tensor = torch.ones(32 << 20)\n"
            "lines = open('/proc/self/smaps_rollup').read().splitlines()\n"
            "print(next(line.split()[1] for line in lines if line.startswith('AnonHugePages')))\n"
        )
        variables = {**os.environ, **config.variables(os.environ)}
        return int(
            subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, check=True).stdout
        )

    assert huge_kilobytes(EnvironmentConfig(keep_memory=False)) < 32_000
    assert huge_kilobytes(EnvironmentConfig()) > 96_000
