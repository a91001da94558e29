"""The Nth call of one system call kills the process or fails, for N = 1, 2, 3, ... until none does (SQLite's loop).

strace counts the calls of each thread by itself; test_kills counts those of all.
"""

import itertools
import os
import random
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import checks
from tests.faults.tiny import Template, TinyRun

pytestmark = pytest.mark.timeout(1800)

WHOLE = os.environ.get("MINIGPT_FAULTS") == "whole"
# Without that not every call in turn, but so many of them.
SAMPLES = 2
# Calls that write the run's files and those of the store (which is SQLite: pwrite64, fdatasync).
KILLED_AT = ("fsync", "fdatasync", "rename", "unlink", "unlinkat", "rmdir")
FAILING = [("fsync", "EIO"), ("rename", "EIO"), ("rename", "ENOSPC"), ("write", "EIO"), ("write", "ENOSPC")]
FAILING += [("pwrite64", "ENOSPC"), ("fdatasync", "EIO")]


@pytest.fixture(scope="module", autouse=True)
def strace() -> str:
    if (found := shutil.which("strace")) is None:
        message = "Debian's strace is not installed; `make system` installs it"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return str(found)


@dataclass(frozen=True)
class Trace:
    exit_code: int | None
    text: str

    @property
    def fired(self) -> bool:
        return "(INJECTED)" in self.text or self.exit_code == -signal.SIGKILL

    def calls(self, call: str) -> int:
        """Of the thread that has most of them."""
        by_thread = Counter(line.split()[0] for line in self.text.splitlines() if f" {call}(" in line)
        return max(by_thread.values(), default=0)


def traced(run: TinyRun, strace: str, *expressions: str) -> Trace:
    """Live with the fault that these name, or none."""
    process = run.start_stopped()
    assert process.pid is not None
    output = run.home / "strace.log"
    command = [strace, "-f", "-p", str(process.pid), "-o", str(output)]
    command += [word for expression in expressions for word in ("-e", expression)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        assert tracer.stderr is not None
        assert b"attached" in tracer.stderr.readline()
        os.kill(process.pid, signal.SIGCONT)
        process.join(60)
        assert not process.is_alive()
    text = output.read_text()
    output.unlink()
    return Trace(process.exitcode, text)


@pytest.fixture(scope="module")
def counted(template: Template, tmp_path_factory: pytest.TempPathFactory, strace: str) -> Trace:
    """A life without a fault."""
    calls = {*KILLED_AT, *(call for call, _ in FAILING)}
    trace = traced(template.copy(tmp_path_factory.mktemp("counted") / "home"), strace, f"trace={','.join(calls)}")
    assert trace.exit_code == 0
    return trace


@dataclass(frozen=True)
class Turns:
    """Lives of which each has a fault at another call."""

    template: Template
    place: Path
    strace: str
    source: random.Random
    counted: Trace

    def of(self, call: str, fault: str) -> Iterator[tuple[int, int | None, TinyRun]]:
        """The number, the exit code and the run of each: every number in turn until the fault comes no more."""
        numbers: Iterable[int] = itertools.count(1)
        if not WHOLE:
            numbers = sorted(self.source.sample(range(1, self.counted.calls(call) + 1), SAMPLES))
        for number in numbers:
            run = self.template.copy(self.place / str(number))
            trace = traced(run, self.strace, f"trace={call}", f"inject={call}:{fault}:when={number}")
            if not trace.fired:
                assert trace.exit_code == 0, run.log
                return
            yield number, trace.exit_code, run
            run.finish()
            assert checks.outcome(run) == self.template.outcome, f"{call} number {number}"
            shutil.rmtree(run.home)


@pytest.fixture
def turns(template: Template, tmp_path: Path, strace: str, source: random.Random, counted: Trace) -> Turns:
    return Turns(template, tmp_path, strace, source, counted)


@pytest.mark.parametrize("call", KILLED_AT)
def test_killed_at_each(call: str, turns: Turns, request: pytest.FixtureRequest) -> None:
    """SIGKILL at each fsync, fdatasync, rename and deletion in turn (strace)"""
    trials = 0
    for _, code, _ in turns.of(call, "signal=KILL"):
        assert code == -signal.SIGKILL
        trials += 1
    assert trials
    request.node.user_properties.append(("trials", trials))


@pytest.mark.parametrize(("call", "error"), FAILING)
def test_failing_at_each(call: str, error: str, turns: Turns, request: pytest.FixtureRequest) -> None:
    """EIO and ENOSPC at each write, fsync and rename in turn (strace): a named error, and the run goes on later"""
    trials = 0
    for number, code, run in turns.of(call, f"error={error}"):
        assert code in (0, 1), f"{call} number {number}"
        assert code == 0 or checks.NAMED.search(run.log), run.log
        trials += 1
    assert trials
    request.node.user_properties.append(("trials", trials))
