"""The log on standard error while tasks run."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.reporting.units import PROGRESS_LEVEL
from tasks.runs.failures import forget_failures, record_failure

log = logging.getLogger(__name__)


def show_log(quiet: bool) -> None:
    """Log to standard error: warnings, and progress unless `quiet`.

    A terminal outside CI shows every line of progress, another output one a minute.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    watched = sys.stderr.isatty() and not os.environ.get("CI")
    handler.setLevel(logging.WARNING if quiet else logging.INFO if watched else PROGRESS_LEVEL)
    for name in ("tasks", "minigpt", "flows"):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)


@contextmanager
def scheduled_run_log(name: str) -> Iterator[None]:
    """Log warnings to standard error in a process that Prefect started for a schedule; elsewhere do nothing.

    A failure is logged and recorded under `name`; a success removes the failures recorded for it.
    """
    from prefect.runtime import deployment

    if deployment.id is None:
        yield
        return
    show_log(quiet=True)
    try:
        yield
    except Exception as error:
        log.error("%s failed: %s", name, error)
        record_failure(name, error)
        raise
    forget_failures(name)
