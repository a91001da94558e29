"""What torch reads when it is imported, of threads and memory; and starting a thread where memory may be short."""

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager

START_SECONDS = 30.0

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
    faulthandler.dump_traceback_later(START_SECONDS, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
