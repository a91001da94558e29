"""Settings for the start of a process: OpenMP threads, memory pages and garbage collection."""

import faulthandler
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Allocations between two garbage collections; Python's default collects far more often.
RARELY = 50_000


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Collect garbage rarely while the block imports, and exempt all objects of the block from later collections."""
    usual = gc.get_threshold()
    gc.set_threshold(RARELY)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.freeze()


THREAD_START_SECONDS = 30.0

# Fixes the number of OpenMP threads, independent of the caller's environment and the load, because it changes the bits.
STEADY = {"OMP_DYNAMIC": "false", "OMP_THREAD_LIMIT": "4096"}

# How often an idle thread polls for work before it sleeps (GNU OpenMP, which reads this when torch is imported). The
# default count makes steps and tokens much slower if another process is busy; this one costs little on an idle machine.
SPINS, FEW_SPINS = "GOMP_SPINCOUNT", "5000"

# 1 makes torch allocate large tensors in huge pages (2 MB), which speeds up generation.
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"

# Environment of a command, unless the caller sets these variables.
COMMAND_VARIABLES = {SPINS: FEW_SPINS, HUGE_PAGES: "1"}


@contextmanager
def bounded_start() -> Iterator[None]:
    """Exit with a traceback if a thread that this block starts does not begin within THREAD_START_SECONDS.

    Python waits forever for a thread that had no memory to start. The watchdog of faulthandler is not a Python thread,
    so it still works then.
    """
    faulthandler.dump_traceback_later(THREAD_START_SECONDS, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
