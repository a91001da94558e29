"""The whole command line, with Prefect and MLflow: killed at random, twenty at once, and downloads again and again."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from minigpt.data.sources import python_topics
from minigpt.io.journal import JOURNAL, read_journal
from tests.faults import checks

LONG = ("--set", "training.max_steps=300", "--set", "training.checkpoint_every_steps=30")
# From the start of the command to its last step and a little more, on a machine that does nothing else.
SECONDS = 12.0
BITS = ("weights_sha256", "curve_sha256", "val_loss", "train_loss", "best_step", "steps", "samples", "status")
TOGETHER, KILLED = 20, 5


@pytest.fixture(scope="module")
def place(new_workplace: Callable[[], Any]) -> Iterator[Any]:
    """A home with a Prefect server that stays."""
    place = new_workplace()
    with place.prefect_server():
        yield place


@pytest.fixture(scope="module")
def undisturbed(place: Any) -> dict[str, Any]:
    result: dict[str, Any] = place.json("run", "smoke", *LONG)
    return result


def start(place: Any, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        place.command(*arguments),
        cwd=place.folder,
        env=place.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill(process: subprocess.Popen[str]) -> None:
    """The command and its training process, at once; what is left of a shared server is not its own."""
    if process.poll() is None:
        command = psutil.Process(process.pid)
        for member in (*command.children(), command):
            with suppress(psutil.NoSuchProcess):  # it ended by itself just now
                if not any("prefect_server" in word for word in member.cmdline()):
                    member.kill()
    process.communicate()


def stored(place: Any, run_id: str) -> list[checks.Point]:
    """The run's points in MLflow, each of the journal's once."""
    points = checks.stored_points(place.home / "mlflow.db", run_id)
    checks.compare_with_journal(points, checks.points_of(read_journal(place.home / "runs" / run_id / JOURNAL)))
    return points


def check(place: Any, result: dict[str, Any], expected: dict[str, Any]) -> None:
    assert {key: result[key] for key in BITS} == {key: expected[key] for key in BITS}
    found, wanted = (checks.deterministic(stored(place, run["run_id"])) for run in (result, expected))
    assert found == wanted
    assert not list((place.home / "runs" / result["run_id"]).rglob("*.tmp"))
    folder = place.home / "runs" / result["run_id"]
    assert not [process for process in place.processes() if str(folder) in " ".join(process.cmdline())]


@pytest.mark.trials(default=0, whole=30)
def test_killed(trial: int, place: Any, undisturbed: dict[str, Any], source: random.Random) -> None:
    """SIGKILL of the whole command line at a random moment"""
    before = set(place.home.glob("runs/*"))
    process = start(place, "run", "smoke", *LONG)
    time.sleep(source.uniform(0, SECONDS))
    kill(process)
    made = set(place.home.glob("runs/*")) - before
    if not made:  # before it had a run
        return
    (folder,) = made
    if (folder / "result.json").exists():  # behind its end; what MLflow lacks is sent
        assert place.run("sync", folder.name).returncode == 0
        result = json.loads((folder / "result.json").read_bytes())
    elif not (folder / "facts.json").exists():
        done = place.run("resume", folder.name)
        assert done.returncode == 2
        assert "was stopped before it was opened; start a new run" in done.stderr
        return
    else:
        result = place.json("resume", folder.name)
    assert result["run_id"] == folder.name
    check(place, result, undisturbed)
    verified = place.run("verify", folder.name)
    assert verified.returncode == 0, verified.stdout


class Text(BaseHTTPRequestHandler):
    """Serves the text that smoke trains on, and counts."""

    requests = 0

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        type(self).requests += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(python_topics())))
        self.end_headers()
        self.wfile.write(python_topics())


@pytest.mark.timeout(1200)
@pytest.mark.trials(default=0, whole=5)
def test_together(
    trial: int, new_workplace: Callable[[], Any], source: random.Random, record_property: Callable[[str, object], None]
) -> None:
    """Twenty commands at once with one home, five of them killed and resumed: one download, twenty right runs"""
    record_property("trials", TOGETHER)
    place = new_workplace()
    Text.requests = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Text) as http, place.prefect_server():
        threading.Thread(target=http.serve_forever, daemon=True).start()
        sha256 = hashlib.sha256(python_topics()).hexdigest()
        corpus = (
            "--set",
            f"corpus.source=http://127.0.0.1:{http.server_port}/text",
            "--set",
            f"corpus.sha256={sha256}",
        )
        processes = [start(place, "run", "smoke", *corpus, "--json") for _ in range(TOGETHER)]
        killed = source.sample(processes, KILLED)
        time.sleep(source.uniform(20, 60))
        for process in killed:
            kill(process)
        results = []
        for process in (process for process in processes if process not in killed):
            output, errors = process.communicate(timeout=1000)
            assert process.returncode == 0, errors
            assert "database is locked" not in errors
            results.append(json.loads(output))
        assert Text.requests == 1
        http.shutdown()
        for folder in place.home.glob("runs/*"):
            if not (folder / "result.json").exists() and (folder / "facts.json").exists():
                results.append(place.json("resume", folder.name))
        for result in results:
            check(place, result, results[0])
    shutil.rmtree(place.home)


@pytest.mark.trials(default=0, whole=10)
def test_downloads(trial: int, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Every fault of a download (tests/minigpt/io/test_download.py)"""
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "tests/minigpt/io/test_download.py", f"--junitxml={report}"]
    environment = {name: value for name, value in os.environ.items() if name != "MINIGPT_FAULTS"}
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    (suite,) = ElementTree.parse(report).getroot().iter("testsuite")  # noqa: S314
    record_property("trials", int(suite.attrib["tests"]))
    assert done.returncode == 0, done.stdout
