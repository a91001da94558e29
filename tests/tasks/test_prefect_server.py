"""Prefect's server beside a training: its port is its own, and it is quiet."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from tasks.servers import Server, listening
from tests.conftest import Workplace

# How often the threads of an idle server fall asleep in a second: 197 by Prefect's defaults, 72 by ours.
MOST_SLEEPS = 120
SETTLING_SECONDS, SECONDS = 3, 6


def sleeps(pid: int) -> int:
    """Of all threads of a process, so far; unlike seconds of the CPU they do not hang on its speed."""
    lines = (path.read_text().splitlines() for path in Path(f"/proc/{pid}/task").glob("*/status"))
    return sum(int(line.split()[1]) for of_one in lines for line in of_one if line.startswith("voluntary_ctxt"))


def test_a_port_that_is_given_is_taken_although_nobody_answers_there() -> None:
    with listening(0) as first:
        port = first.getsockname()[1]
        with listening(port) as second:
            assert second.getsockname()[1] not in (0, port)


def test_an_idle_server_leaves_the_cores_to_the_training(new_workplace: Callable[[], Workplace]) -> None:
    place = new_workplace()
    with place.prefect_server():
        written = place.home / "prefect" / "server.json"
        while not written.exists():
            time.sleep(0.1)
        known = json.loads(written.read_text())
        pid = known["pid"]
        Server(known["url"]).wait()
        time.sleep(SETTLING_SECONDS)
        before = sleeps(pid)
        time.sleep(SECONDS)
        asleep = (sleeps(pid) - before) / SECONDS
    assert 0 < asleep < MOST_SLEEPS
