"""What a process sets before and while it imports: threads, memory pages, garbage collection."""

import faulthandler
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# New objects from one collection to the next; by default 700.
RARELY = 50_000


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """For a block that imports; what is there when it is left is never looked through again."""
    usual = gc.get_threshold()
    gc.set_threshold(RARELY)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.freeze()


THREAD_START_SECONDS = 30.0

# As many threads as are asked for, whatever the caller's environment or the load says: their number decides the bits.
STEADY = {"OMP_DYNAMIC": "false", "OMP_THREAD_LIMIT": "4096"}

# How often a thread looks for the next piece of work before it sleeps (GNU's OpenMP, which reads it when torch is
# imported). By default it goes on looking for so long that beside one other busy process a step of quickstart takes 420
# ms instead of 52; with this 170, for 1 %. Beside a training `minigpt sample` takes 780 ms a token, with this 65.
SPINS, FEW_SPINS = "GOMP_SPINCOUNT", "5000"

# Whether torch asks for pages of 2 MB for tensors that are as long: a token of GPT-2 124M takes 4 to 8 % less.
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"

# How a command starts, unless its caller says otherwise.
COMMAND_VARIABLES = {SPINS: FEW_SPINS, HUGE_PAGES: "1"}


@contextmanager
def bounded_start() -> Iterator[None]:
    """End the process, with a traceback, if a thread that is started in this block does not begin.

    Python waits for ever for one that found no memory for its first frame; the watchdog is none of Python's threads.
    """
    faulthandler.dump_traceback_later(THREAD_START_SECONDS, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
