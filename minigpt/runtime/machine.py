"""Facts about this machine: available cores, CPU class, and the best matmul library and precision for that CPU."""

import math
import os
import platform
from pathlib import Path

from minigpt.config import MatmulLibrary, Precision

CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")

# Instruction sets that select a kernel and therefore change the bits.
CPU_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile", "asimd", "sve", "bf16")

# Process facts that must be equal for equal bits.
BITS = ("cpu_class", "torch_capability", "torch_threads", "system")


def available_cores() -> int:
    """Number of cores in the process's affinity mask, or of its cgroup's CPU quota (rounded up) if that is lower."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, math.ceil(_granted_cores() or cores))


def _granted_cores() -> float | None:
    """CPU quota of the process's cgroup (v2), in cores; None if there is no limit."""
    try:
        own = OWN_CGROUP.read_text().removeprefix("0::/").strip()
        quota, period = (CGROUPS / own / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):
        return None


def best_matmul_library() -> MatmulLibrary:
    """oneDNN on non-Intel CPUs with AVX-512, because torch's MKL uses AVX-512 on Intel CPUs only."""
    cpu = cpu_class()
    return "onednn" if "avx512f" in cpu and "GenuineIntel" not in cpu else "torch"


def best_precision() -> Precision:
    """bf16 if the CPU has instructions for it; elsewhere torch emulates it, which is slower than fp32."""
    return "bf16" if {"amx_bf16", "avx512_bf16"} & set(cpu_class().split()) else "fp32"


def cpu_class() -> str:
    """Vendor, family, model and the supported CPU_FLAGS from /proc/cpuinfo; the processor's name without that file."""
    try:
        block = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.partition(":") for line in block.splitlines())
    fields = {key.strip(): value.strip() for key, _, value in pairs}
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    names = [fields[key] for key in ("vendor_id", "cpu family", "model", "CPU part") if key in fields]
    return " ".join([*names, *(flag for flag in CPU_FLAGS if flag in flags)])
