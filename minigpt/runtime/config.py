"""The configuration of the training process's environment."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from minigpt.config import MatmulLibrary, Part
from minigpt.runtime.machine import available_cores, best_matmul_library
from minigpt.runtime.startup import FEW_SPINS, HUGE_PAGES, SPINS, STEADY

# Makes malloc use huge pages, which speeds up training and generation. glibc 2.35 and later read this variable when a
# process starts.
TUNABLES, HUGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"


class EnvironmentConfig(Part):
    """Threads, instruction sets and memory of the training process."""

    threads: int | None = Field(None, ge=1, le=1024)
    """Compute threads; null uses the cores available to the process, and the run records their number."""
    cpu_capability: Literal["default", "avx2", "avx512"] | None = None
    """Best instruction set for torch's own kernels (ATEN_CPU_CAPABILITY); null lets torch choose."""
    products: MatmulLibrary | None = None
    """Library for fp32 matmuls; null uses oneDNN on non-Intel CPUs with AVX-512, and torch's default elsewhere."""
    keep_memory: bool = True
    """Keep freed memory, in huge pages, so that steps cause fewer page faults (glibc only)."""

    def resolved(self) -> "EnvironmentConfig":
        """A copy with the values that depend on this machine filled in, from facts and never from a timing."""
        decided = {"threads": self.threads or available_cores(), "products": self.products or best_matmul_library()}
        return self.model_copy(update=decided)

    def variables(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Variables to add to the environment `inherited` before the process imports torch."""
        threads = str(self.threads or available_cores())
        variables = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, **STEADY}
        if self.cpu_capability:
            variables["ATEN_CPU_CAPABILITY"] = self.cpu_capability
        variables[SPINS] = inherited.get(SPINS, FEW_SPINS)
        variables[HUGE_PAGES] = "0"  # replaces the command's value: here keep_memory alone decides on huge pages
        if self.keep_memory:
            others = [word for word in inherited.get(TUNABLES, "").split(":") if word and not word.startswith(HUGE)]
            variables[TUNABLES] = ":".join([*others, f"{HUGE}=1"])
        return variables
