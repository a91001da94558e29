"""Prefect's server beside a training: its port is its own, and it is quiet."""

import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import Any

import psutil
import pytest

from tasks.servers.prefect_server import SERVER_START_SECONDS, PrefectServer, bind_port
from tests.conftest import Workplace

# How often the threads of an idle server fall asleep in a second: 197 by Prefect's defaults, 72 by ours.
MOST_SLEEPS = 120
SETTLING_SECONDS, SECONDS = 3, 6


def sleeps(pid: int) -> int:
    """Of all threads of a process, so far; unlike seconds of the CPU they do not hang on its speed."""
    lines = (path.read_text().splitlines() for path in Path(f"/proc/{pid}/task").glob("*/status"))
    return sum(int(line.split()[1]) for of_one in lines for line in of_one if line.startswith("voluntary_ctxt"))


def test_a_port_that_is_given_is_taken_although_nobody_answers_there() -> None:
    with bind_port(0) as first:
        port = first.getsockname()[1]
        with bind_port(port) as second:
            assert second.getsockname()[1] not in (0, port)


@pytest.mark.slow
def test_an_idle_server_leaves_the_cores_to_the_training(new_workplace: Callable[[], Workplace]) -> None:
    place = new_workplace()
    with place.prefect_server():
        written = place.home / "prefect" / "server.json"
        while not written.exists():
            time.sleep(0.1)
        known = json.loads(written.read_text())
        pid = known["pid"]
        PrefectServer(known["url"]).wait()
        time.sleep(SETTLING_SECONDS)
        before = sleeps(pid)
        time.sleep(SECONDS)
        asleep = (sleeps(pid) - before) / SECONDS
    assert 0 < asleep < MOST_SLEEPS


@pytest.mark.slow
def test_who_comes_while_a_server_ends_waits_for_its_end_and_has_another(
    new_workplace: Callable[[], Workplace],
) -> None:
    place = new_workplace()
    code = (
        "from tasks.servers.prefect_server import prefect_server, set_up_prefect\n"
        "set_up_prefect()\n"
        "with prefect_server() as server: server.wait(); print(server.url)"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", f"{code}; input()"], env=place.environment(), stdin=PIPE, stdout=PIPE
    )
    assert first.stdout and first.stdout.readline()
    known = json.loads((place.home / "prefect" / "server.json").read_bytes())
    first.kill()
    with (place.home / "prefect" / "users.lock").open("a") as users:
        # Until the server, which nobody uses, has it for itself; on a slow machine it may be gone by then.
        while psutil.pid_exists(known["pid"]) and can_be_shared(users):
            time.sleep(0.01)
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=place.environment(), capture_output=True, text=True)
    assert done.stdout.startswith("http://127.0.0.1:"), done.stderr
    assert time.monotonic() - started < SERVER_START_SECONDS / 2
    assert psutil.wait_procs(place.processes(), timeout=30)[1] == []


def can_be_shared(users: Any) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(users, fcntl.LOCK_UN)
    return True


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, "127.0.0.1,localhost"),
        ({"NO_PROXY": "mlflow.corp,localhost"}, "mlflow.corp,localhost,127.0.0.1"),
        ({"NO_PROXY": "upper", "no_proxy": "lower"}, "lower,127.0.0.1,localhost"),
        ({"NO_PROXY": "*", "no_proxy": "*"}, "*"),
    ],
)
def test_no_proxy_is_asked_for_what_listens_here(
    given: dict[str, str], kept: str, new_workplace: Callable[[], Workplace]
) -> None:
    code = (
        "import os; from tasks.servers.prefect_server import set_up_prefect; set_up_prefect(); "
        "print(os.environ['NO_PROXY'], os.environ['no_proxy'])"
    )
    usual = {name: value for name, value in new_workplace().environment().items() if name.lower() != "no_proxy"}
    done = subprocess.run([sys.executable, "-c", code], env={**usual, **given}, capture_output=True, text=True)
    assert done.stdout.split() == [kept, kept], done.stderr
