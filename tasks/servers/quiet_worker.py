"""Prefect's background worker as a server needs it whose cores are a training's."""

from datetime import timedelta
from typing import Any

from prefect.server.api import background_workers

WORKER_POLL_SECONDS = 1.0


class QuietWorker(background_workers.Worker):  # type: ignore[name-defined, misc]
    """Does Prefect's background work without a listener for cancellations, of which Prefect sends none.

    Listener and worker ask eighteen times a second, which takes more than 1 % of a core from the training beside them,
    and each of its products waits for the slower core.
    """

    def __init__(self, docket: Any) -> None:
        seconds = timedelta(seconds=WORKER_POLL_SECONDS)
        super().__init__(docket, minimum_check_interval=seconds, scheduling_resolution=seconds)

    async def _cancellation_listener(self) -> None:
        if session := self._processing_session:
            session.cancellation_ready.set()
            await session.stopping.wait()


def install_quiet_worker() -> None:
    """Have the server of this process use it."""
    background_workers.Worker = QuietWorker  # type: ignore[attr-defined, assignment]
