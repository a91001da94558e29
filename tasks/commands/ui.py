"""Serve the UIs of MLflow and Prefect together, on the loopback interface by default."""

import logging
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from minigpt.errors import FailedError, InputError
from tasks.home.folders import home
from tasks.home.process import python_environment
from tasks.home.settings import TrackingSettings, check_reachable, read_settings_file
from tasks.servers.prefect_server import LOOPBACK, port_problem, prefect_server
from tasks.tracking.client import make_local_store

log = logging.getLogger(__name__)

UI_START_SECONDS = 120
UI_POLL_SECONDS = 0.5


def serve_uis() -> None:
    """Serve both UIs until Ctrl-C.

    Raises InputError if the port cannot be used or runs are tracked elsewhere, and FailedError if a server ends.
    """
    settings = read_settings_file().ui
    if trouble := port_problem(settings.host, settings.port):
        raise InputError(
            f"port {settings.port} on {settings.host} {trouble}; choose another with ui.port or ui.host in mlflow.yaml"
        )
    with prefect_server() as prefect:
        process = _mlflow_server(settings.host, settings.port)
        try:
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            url = f"http://{host}:{settings.port}"
            _wait(process, url)
            prefect.wait()
            log.warning("MLflow  %s/#/experiments?workflowType=machine_learning", url)
            log.warning("Prefect %s/runs", prefect.url)
            log.warning("Ctrl-C ends both")
            with suppress(KeyboardInterrupt):
                while process.poll() is None:
                    time.sleep(UI_POLL_SECONDS)
                raise FailedError(f"the MLflow server at {url} ended; {_log()} says why")
        finally:
            _end(process)


def _mlflow_server(host: str, port: int) -> subprocess.Popen[bytes]:
    """Start MLflow's server on the store of this home, with one worker, a list of allowed hosts and no job runner."""
    address = TrackingSettings().address()
    if not address.is_local:
        raise InputError(f"runs are tracked at {address.tracking_uri}, which has its own UI; open that address")
    check_reachable(address)
    make_local_store(address)
    hosts = ",".join(f"{name}:{port}" for name in dict.fromkeys((host, *LOOPBACK, "::1")))
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", address.tracking_uri]
    command += ["--host", host, "--port", str(port), "--workers", "1", "--allowed-hosts", hosts]
    with _log().open("ab") as output:
        # Started in the home, because uvicorn imports from its working directory before anything else.
        return subprocess.Popen(
            command,
            cwd=home(),
            env={**python_environment(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _log() -> Path:
    return home() / "mlflow-server.log"


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + UI_START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            time.sleep(UI_POLL_SECONDS)
    raise FailedError(f"the MLflow server did not start at {url}; {_log()} says why")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and all its workers."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        with suppress(psutil.NoSuchProcess):  # it has just ended
            member.terminate()
    _, alive = psutil.wait_procs(family, timeout=10)
    for member in alive:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
