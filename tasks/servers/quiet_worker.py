"""A variant of Prefect's background worker for a server that shares its cores with a training."""

from datetime import timedelta
from typing import Any

from prefect.server.api import background_workers

WORKER_POLL_SECONDS = 1.0


class QuietWorker(background_workers.Worker):  # type: ignore[name-defined, misc]
    """Polls once a second, and does not listen for cancellations, which Prefect never sends.

    By default, listener and worker poll often enough to slow down a training on the same cores: each of its matmuls
    waits for its slowest core.
    """

    def __init__(self, docket: Any) -> None:
        seconds = timedelta(seconds=WORKER_POLL_SECONDS)
        super().__init__(docket, minimum_check_interval=seconds, scheduling_resolution=seconds)

    async def _cancellation_listener(self) -> None:
        if session := self._processing_session:
            session.cancellation_ready.set()
            await session.stopping.wait()


def install_quiet_worker() -> None:
    """Make the Prefect server of this process use QuietWorker; call it before the server is created."""
    background_workers.Worker = QuietWorker  # type: ignore[attr-defined, assignment]
