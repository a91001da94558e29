"""What is said on standard error while tasks work."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.runs.failures import forget_failures, record_failure

log = logging.getLogger(__name__)


def show_log(quiet: bool) -> None:
    """Show what the tasks say on standard error while someone watches; warnings always."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    watched = sys.stderr.isatty() and not os.environ.get("CI")
    handler.setLevel(logging.INFO if watched and not quiet else logging.WARNING)
    for name in ("tasks", "minigpt", "flows"):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)


@contextmanager
def scheduled_run_log(name: str) -> Iterator[None]:
    """Let a process that Prefect started for a schedule say on standard error what a person's own would."""
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
