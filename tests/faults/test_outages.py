"""A tracking server that fails between the first contact and the end: nothing lost, nothing twice.

A proxy stands between the run and a real MLflow server; it is told when to fail and how.
"""

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from minigpt.io.journal import JOURNAL, read_journal
from minigpt.io.records import EndRecord
from tasks.home.settings import TrackingAddress
from tasks.runs.run import Run
from tasks.tracking.live import create_run
from tasks.tracking.tracker import MlflowTracker
from tests.faults import checks
from tests.faults.tiny import Template, TinyRun

SLOW_SECONDS = 1.5
# MLflow's timeout of one request, here.
PATIENCE_SECONDS = 1


class Proxy(BaseHTTPRequestHandler):
    """Passes requests on, unless `fault` says otherwise for this one."""

    upstream = ""
    fault: Callable[[], str] = staticmethod(lambda: "none")

    def log_message(self, *_: object) -> None:
        pass

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.fault()
        if fault == "gone":
            return self.hang_up()
        if fault == "500":
            return self.answer(500, b'{"error_code": "INTERNAL_ERROR", "message": "out of order"}')
        if fault == "garbage":
            return self.answer(200, b"<html>a page of a proxy")
        if fault == "slow":
            time.sleep(SLOW_SECONDS)
        headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
        given = httpx.request(self.command, f"{self.upstream}{self.path}", content=body, headers=headers, timeout=30)
        if fault == "answer lost":  # the server has committed it
            return self.hang_up()
        return self.answer(given.status_code, given.content)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = pass_on  # noqa: N815

    def answer(self, status: int, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # whoever asked is gone
            self.close_connection = True

    def hang_up(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True


@pytest.fixture(scope="module")
def proxy(mlflow_server: Any) -> Iterator[tuple[str, type[Proxy]]]:
    handler = type("Told", (Proxy,), {"upstream": mlflow_server.url})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", handler
        http.shutdown()


def run_at_server(address: str, template: Template, home: Path, monkeypatch: pytest.MonkeyPatch) -> TinyRun:
    """A tiny run that is tracked there."""
    monkeypatch.setenv("MINIGPT_HOME", str(home))
    there = TrackingAddress(tracking_uri=address, experiment="faults")
    made: Run = create_run(MlflowTracker(there), "tiny", {"seed": 1}, {})
    here = template.copy(home.parent / "template")
    made.folder.mkdir(parents=True, exist_ok=True)
    for path in here.folder.iterdir():
        path.rename(made.folder / path.name)
    return TinyRun(home, made, [])


FAULTS = ("gone", "slow", "500", "garbage", "answer lost")


@pytest.mark.trials(default=1, whole=20)
@pytest.mark.parametrize("fault", FAULTS)
def test_outage(
    fault: str,
    trial: int,
    mlflow_server: Any,
    proxy: tuple[str, type[Proxy]],
    template: Template,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: random.Random,
) -> None:
    """The tracking server gone, slow, failing, its answer lost: the training ends, and what is missing is sent later"""
    address, handler = proxy
    run = run_at_server(address, template, tmp_path / "home", monkeypatch)
    chance, begins = source.choice([1.0, 0.5]), source.randrange(6)
    requests = [0]

    def decide() -> str:
        requests[0] += 1
        return fault if requests[0] > begins and source.random() < chance else "none"

    handler.fault = staticmethod(decide)
    try:
        run.live(patience_seconds=PATIENCE_SECONDS)
    finally:
        handler.fault = staticmethod(lambda: "none")
    records = read_journal(run.folder / JOURNAL)
    assert isinstance(records[-1], EndRecord), run.log
    assert records[-1].weights_sha256 == template.outcome.weights_sha256
    run.finish()
    stored = checks.stored_points(mlflow_server.folder / "store.db", run.run.run_id)
    checks.compare_with_journal(stored, checks.points_of(records))
    assert checks.deterministic(stored) == template.outcome.points
