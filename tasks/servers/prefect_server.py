"""The Prefect server of a home: started if none is running, and ended when no process uses it any more.

Every process that uses the server holds a shared lock. The server ends itself once it can take that lock exclusively,
so it also ends if its last user is killed. This module never imports Prefect, whose settings must be in place first.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from filelock import FileLock

from minigpt.errors import FailedError, InputError
from minigpt.io.store import write_atomically
from tasks.home.folders import home, make_folder
from tasks.home.process import birth_of, python_environment, same_process, shut_out_other_code
from tasks.servers.databases import copy_empty_database
from tasks.servers.prefect_settings import check_prefect_settings

HOST = "127.0.0.1"
LOOPBACK = (HOST, "localhost")
PREFECT_PORT = 4200
SERVER_START_SECONDS = 120
SERVER_STOP_SECONDS = 15

# No telemetry is sent, results are never pickled, and this project's log records reach the server. The server shares
# its cores with the training, so its services for late, paused, cancelled and lost runs wake up once a minute only.
PREFECT_DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "minigpt,tasks,flows",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "60",
    "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT60S",
}


def prefect_folder() -> Path:
    """The folder that PREFECT_HOME is set to."""
    return home() / "prefect"


def set_up_prefect() -> None:
    """Set Prefect's home and our defaults in the environment, and check the user's own settings.

    Call it before Prefect is imported, because that is when Prefect reads them. Raises InputError for settings that
    Prefect would refuse.
    """
    make_folder(prefect_folder())
    shut_out_other_code()
    ours = {**PREFECT_DEFAULTS, "PREFECT_HOME": str(prefect_folder())}
    for name, value in ours.items():
        os.environ.setdefault(name, value)
    check_prefect_settings(ours)
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    if "*" not in direct:  # a proxy cannot reach servers on the loopback interface
        hosts = ",".join(dict.fromkeys([*filter(None, direct.split(",")), *LOOPBACK]))
        os.environ |= {"no_proxy": hosts, "NO_PROXY": hosts}


@dataclass(frozen=True)
class PrefectServer:
    """A Prefect server that is running or starting. `process` is set if this process started it."""

    url: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def api_url(self) -> str:
        return f"{self.url}/api"

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Raise FailedError with one clear sentence if the server stops answering in the block."""
        try:
            yield
        except httpx.HTTPError as error:
            raise FailedError(
                f"Prefect at {self.url} stopped answering ({type(error).__name__}); `minigpt runs` shows the run's "
                "status, and `minigpt resume` continues a run that did not end"
            ) from error

    def wait(self) -> None:
        """Wait until the server answers; raise FailedError if it ended or took longer than SERVER_START_SECONDS."""
        deadline = time.monotonic() + SERVER_START_SECONDS
        while not is_answering(self.api_url):
            if self.process is not None and self.process.poll() is not None:
                raise FailedError(f"the Prefect server ended at once; {prefect_folder() / 'server.log'} says why")
            if time.monotonic() > deadline:
                raise FailedError(
                    f"no Prefect server after {SERVER_START_SECONDS} s; {prefect_folder() / 'server.log'} says why"
                )
            time.sleep(0.1)


def is_answering(api_url: str) -> bool:
    try:
        encrypted = api_url.startswith("https:")  # loading certificates takes time, and plain HTTP needs none
        return httpx.get(f"{api_url}/health", timeout=5, verify=encrypted).status_code == 200
    except httpx.HTTPError:
        return False


@contextlib.contextmanager
def prefect_server() -> Iterator[PrefectServer]:
    """Provide a server while the block runs: the user's (PREFECT_API_URL), this home's running one, or a new one.

    A new server may not answer yet: call its `wait`. Raises InputError if the user's server does not answer.
    """
    if users_url := os.environ.get("PREFECT_API_URL"):
        if not is_answering(users_url):
            raise InputError(
                f"no Prefect server answers at {users_url} (PREFECT_API_URL); start it, or unset the variable"
            )
        os.environ.setdefault("PREFECT_UI_URL", users_url.removesuffix("/api"))
        yield PrefectServer(users_url.removesuffix("/api"))
        return
    with (prefect_folder() / "users.lock").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        server = _running_or_new()
        os.environ["PREFECT_UI_URL"] = server.url
        try:
            yield server
        finally:
            _leave(users)


def _running_or_new() -> PrefectServer:
    """The server of this home. A new one is recorded in server.json before the start lock is released."""
    with FileLock(prefect_folder() / "start.lock"):
        known = _known()
        if known and _reachable(known):
            return PrefectServer(known["url"])
        if (
            os.environ.get("PREFECT_HOME") == str(prefect_folder())
            and "PREFECT_API_DATABASE_CONNECTION_URL" not in os.environ
        ):
            copy_empty_database("prefect", prefect_folder() / "prefect.db")
        with bind_port(PREFECT_PORT) as place, (prefect_folder() / "server.log").open("ab") as output:
            url = f"http://{HOST}:{place.getsockname()[1]}"
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tasks.servers.prefect_process",
                    str(place.fileno()),
                    str(prefect_folder() / "users.lock"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[place.fileno()],
                start_new_session=True,
                env={
                    **python_environment(),
                    "PREFECT_API_URL": f"{url}/api",
                    "PREFECT_SERVER_UI_API_URL": f"{url}/api",
                    "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": url,
                },
            )
        known = {"url": url, "pid": process.pid, "born": birth_of(process.pid)}
        write_atomically(prefect_folder() / "server.json", json.dumps(known).encode())
        return PrefectServer(url, process)


def _known() -> dict[str, Any] | None:
    """The URL, pid and birth of the last server that was started; None if there is no record."""
    try:
        known: dict[str, Any] = json.loads((prefect_folder() / "server.json").read_bytes())
    except (OSError, ValueError):
        return None
    return known


def _reachable(known: dict[str, Any]) -> bool:
    """True if the server answers. Waits while its process lives, up to SERVER_START_SECONDS, as it may be starting."""
    deadline = time.monotonic() + SERVER_START_SECONDS
    while same_process(known["pid"], known["born"]) and time.monotonic() < deadline:
        if is_answering(f"{known['url']}/api"):
            return True
        time.sleep(0.1)
    return False


def _leave(users: Any) -> None:
    """Stop using the server. The last user ends it and waits until it is gone."""
    with FileLock(prefect_folder() / "start.lock"):
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        known = _known()
        if known and (process := same_process(known["pid"], known["born"])):
            process.terminate()
            try:
                process.wait(SERVER_STOP_SECONDS)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(SERVER_STOP_SECONDS)
        (prefect_folder() / "server.json").unlink(missing_ok=True)


def bind_port(wanted: int) -> socket.socket:
    """Return a listening socket on the wanted port, or on any free port if that is taken.

    Binding right away reserves the port: a server takes seconds to start, and meanwhile the server of another home
    could choose the same port.
    """
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind((HOST, wanted))
        place.listen()
    except OSError:
        place.close()
        place = socket.create_server((HOST, 0))
    return place


def port_problem(host: str, port: int) -> str | None:
    """Why a server cannot listen on the port, such as "is in use"; None if it can."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        return "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
    return None
