"""The process of our Prefect server, started with a socket that listens already.

`python -m tasks.servers.prefect_process SOCKET LOCK_FILE`

It ends once nobody holds the lock any more, so that it outlives neither the last run nor a run that was killed.
"""

import fcntl
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from minigpt.runtime.startup import collecting_rarely

LOCK_POLL_SECONDS = 1.0
# The host that Prefect's clients within the server name, such as those of automations.
OWN_CLIENTS = "prefect-in-memory"
# Uvicorn and Prefect have so long to end in good order.
SHUTDOWN_SECONDS = 15.0


def end_without_users(lock: Path) -> None:
    """Ask this process to end as soon as no other holds the lock, which is then its own to the end.

    Whoever comes meanwhile waits until it is gone, and does not take it for a server.
    """
    with lock.open("a") as users:
        while True:
            time.sleep(LOCK_POLL_SECONDS)
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(SHUTDOWN_SECONDS)
            os._exit(1)


def serve_prefect(listening: int, lock: Path) -> None:
    threading.Thread(target=end_without_users, args=(lock,), daemon=True).start()
    with collecting_rarely():
        import uvicorn
        from prefect.server.api.server import create_app
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        from tasks.servers.prefect_server import LOOPBACK
        from tasks.servers.quiet_worker import install_quiet_worker

        install_quiet_worker()
        app = create_app()
        # A page whose name turns out to stand for this machine is no page of ours.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, OWN_CLIENTS])
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listening)])


if __name__ == "__main__":
    serve_prefect(int(sys.argv[1]), Path(sys.argv[2]))
