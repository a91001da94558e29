"""The process of our Prefect server, which is started with a socket that is already listening.

`python -m tasks.servers.prefect_process SOCKET LOCK_FILE`

It ends when no other process holds the lock, so it does not outlive the last run, even if that was killed.
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
# The host name that Prefect's clients inside the server send, such as those of automations.
OWN_CLIENTS = "prefect-in-memory"
# How long Uvicorn and Prefect may take to shut down.
SHUTDOWN_SECONDS = 15.0


def end_without_users(lock: Path) -> None:
    """Shut this process down as soon as no other process holds the lock.

    The lock is kept until the process is gone, so a new user waits for that and does not use a server that is ending.
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
    """Serve Prefect on the listening socket with this file descriptor until no other process holds the lock."""
    threading.Thread(target=end_without_users, args=(lock,), daemon=True).start()
    with collecting_rarely():
        import uvicorn
        from prefect.server.api.server import create_app
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        from tasks.servers.prefect_server import LOOPBACK
        from tasks.servers.quiet_worker import install_quiet_worker

        install_quiet_worker()
        app = create_app()
        # Guards against DNS rebinding: a foreign web page whose name resolves to this machine is refused.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, OWN_CLIENTS])
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listening)])


if __name__ == "__main__":
    serve_prefect(int(sys.argv[1]), Path(sys.argv[2]))
