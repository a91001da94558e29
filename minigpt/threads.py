"""Starting a thread where memory may be short."""

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager

START_SECONDS = 30.0


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
