"""The process of our Prefect server: `python -m tasks.prefect_server SOCKET LOCK_FILE`, the socket listening already.

It ends once nobody holds the lock any more, so that it outlives neither the last run nor a run that was killed.
"""

import fcntl
import os
import signal
import socket
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import uvicorn
from prefect.server.api import background_workers

POLL_SECONDS = 1.0


class QuietWorker(background_workers.Worker):  # type: ignore[name-defined, misc]
    """Does Prefect's background work without a listener for cancellations, of which Prefect sends none.

    Listener and worker ask eighteen times a second, which takes more than 1 % of a core from the training beside them,
    and each of its products waits for the slower core.
    """

    def __init__(self, docket: Any) -> None:
        seconds = timedelta(seconds=POLL_SECONDS)
        super().__init__(docket, minimum_check_interval=seconds, scheduling_resolution=seconds)

    async def _cancellation_listener(self) -> None:
        if session := self._processing_session:
            session.cancellation_ready.set()
            await session.stopping.wait()


def end_without_users(lock: Path) -> None:
    """Ask this process to end as soon as no other holds the lock."""
    with lock.open("a") as users:
        while True:
            time.sleep(POLL_SECONDS)
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            os.kill(os.getpid(), signal.SIGTERM)
            return


def main(listening: int, lock: Path) -> None:
    background_workers.Worker = QuietWorker  # type: ignore[attr-defined, assignment]
    threading.Thread(target=end_without_users, args=(lock,), daemon=True).start()
    app = "prefect.server.api.server:create_app"
    config = uvicorn.Config(app, factory=True, log_level="warning", timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listening)])


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
