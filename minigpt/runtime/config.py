"""The configuration of the training process's environment."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from minigpt.config import MatmulLibrary, Part
from minigpt.runtime.machine import available_cores, best_matmul_library
from minigpt.runtime.startup import FEW_SPINS, HUGE_PAGES, SPINS, STEADY

# Memory comes in pages of 2 MB where the system has them to give: a step of 162M parameters takes 7 % less, and reading
# weights 5 to 10 %. glibc reads it when a process starts, from 2.35 on.
TUNABLES, HUGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"


class EnvironmentConfig(Part):
    """How the training process is started."""

    threads: int | None = Field(None, ge=1, le=1024)
    """Threads for arithmetic; null takes the cores that the process may use, and the run records how many."""
    cpu_capability: Literal["default", "avx2", "avx512"] | None = None
    """Best instruction set that torch's own kernels may use (ATEN_CPU_CAPABILITY); null leaves it to torch."""
    products: MatmulLibrary | None = None
    """Library of the fp32 matrix products; null: oneDNN on CPUs with AVX-512 that are not Intel's, else torch's."""
    keep_memory: bool = True
    """Keep freed memory, and in huge pages, instead of faulting it in page by page at each step (glibc only)."""

    def resolved(self) -> "EnvironmentConfig":
        """The same with what this machine decides filled in, from facts and never from a timing."""
        decided = {"threads": self.threads or available_cores(), "products": self.products or best_matmul_library()}
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
