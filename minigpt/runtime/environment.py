"""The process state that changes a run's bits besides its config and code: threads, matmul library, CPU class."""

import ctypes
import platform
from typing import Any

import torch

from minigpt.cpu.matmul import use_matmul_library
from minigpt.runtime.config import EnvironmentConfig
from minigpt.runtime.machine import available_cores, best_matmul_library, cpu_class

# Parameters of mallopt (glibc's malloc.h).
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3


def apply_environment(config: EnvironmentConfig) -> None:
    """Apply the settings that can change after torch is imported: threads, matmul library and glibc's allocator."""
    torch.set_num_threads(config.threads or available_cores())
    use_matmul_library(config.products or best_matmul_library())
    if config.keep_memory and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def process_facts() -> dict[str, Any]:
    """Facts about this process that change bits: equal facts, code and config give equal bits."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
        "cpu_class": cpu_class(),
        "torch_capability": torch.backends.cpu.get_cpu_capability(),
        "torch_threads": torch.get_num_threads(),
    }
