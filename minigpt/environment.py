"""What decides a run's bits besides its config and code: threads, CPU switches, the CPU's class, the allocator."""

import ctypes
import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from minigpt import products
from minigpt.config import Part
from minigpt.products import Library
from minigpt.threads import FEW_SPINS, HUGE_PAGES, SPINS, STEADY

Precision = Literal["fp32", "bf16"]

# mallopt's parameters (glibc's malloc.h).
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3

# Memory comes in pages of 2 MB where the system has them to give: a step of 162M parameters takes 7 % less, and reading
# weights 5 to 10 %. glibc reads it when a process starts, from 2.35 on.
TUNABLES, HUGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"

CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")

# Facts of a process that have to be equal for equal bits.
BITS = ("cpu_class", "torch_capability", "torch_threads", "system")

# Instruction sets that choose a kernel, and so the bits.
CPU_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile", "asimd", "sve", "bf16")


class EnvironmentConfig(Part):
    """How the training process is started."""

    threads: int | None = Field(None, ge=1, le=1024)
    """Threads for arithmetic; null takes the cores that the process may use, and the run records how many."""
    cpu_capability: Literal["default", "avx2", "avx512"] | None = None
    """Best instruction set that torch's own kernels may use (ATEN_CPU_CAPABILITY); null leaves it to torch."""
    products: Library | None = None
    """Library of the fp32 matrix products; null: oneDNN on CPUs with AVX-512 that are not Intel's, else torch's."""
    keep_memory: bool = True
    """Keep freed memory, and in huge pages, instead of faulting it in page by page at each step (glibc only)."""

    def resolved(self) -> "EnvironmentConfig":
        """The same with what this machine decides filled in, from facts and never from a timing."""
        decided = {"threads": self.threads or available_cores(), "products": self.products or best_products()}
        return self.model_copy(update=decided)

    def variables(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Environment variables to set before torch is imported, beside those that the process would have anyway."""
        threads = str(self.threads or available_cores())
        variables = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, **STEADY}
        if self.cpu_capability:
            variables["ATEN_CPU_CAPABILITY"] = self.cpu_capability
        variables[SPINS] = inherited.get(SPINS, FEW_SPINS)
        variables[HUGE_PAGES] = "0"  # not the command's: glibc asks, for shorter tensors as well, or nobody is to
        if self.keep_memory:
            others = [word for word in inherited.get(TUNABLES, "").split(":") if word and not word.startswith(HUGE)]
            variables[TUNABLES] = ":".join([*others, f"{HUGE}=1"])
        return variables


def available_cores() -> int:
    """Cores that the process may run on, or so many as it is granted the time of, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, math.ceil(_granted_cores() or cores))


def _granted_cores() -> float | None:
    """What a container's limit leaves of the cores that it sees (cgroup v2); None without a limit."""
    try:
        own = OWN_CGROUP.read_text().removeprefix("0::/").strip()
        quota, period = (CGROUPS / own / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):
        return None


def best_products() -> Library:
    """MKL uses AVX-512 on Intel's CPUs alone."""
    cpu = cpu_class()
    return "onednn" if "avx512f" in cpu and "GenuineIntel" not in cpu else "torch"


def best_precision() -> Precision:
    """bf16 is multiplied faster than fp32 where the CPU has instructions for it, and imitated elsewhere."""
    return "bf16" if {"amx_bf16", "avx512_bf16"} & set(cpu_class().split()) else "fp32"


def apply(config: EnvironmentConfig) -> None:
    """Set in this process what can be set once torch is imported."""
    torch.set_num_threads(config.threads or available_cores())
    products.use(config.products or best_products())
    if config.keep_memory and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def facts() -> dict[str, Any]:
    """Facts about this process that change bits; equal facts and equal code give equal bits."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
        "cpu_class": cpu_class(),
        "torch_capability": torch.backends.cpu.get_cpu_capability(),
        "torch_threads": torch.get_num_threads(),
    }


def cpu_class() -> str:
    """Vendor, family, model and the instruction sets that matter, where the system tells them."""
    try:
        block = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.partition(":") for line in block.splitlines())
    fields = {key.strip(): value.strip() for key, _, value in pairs}
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    names = [fields[key] for key in ("vendor_id", "cpu family", "model", "CPU part") if key in fields]
    return " ".join([*names, *(flag for flag in CPU_FLAGS if flag in flags)])
