"""Signals, two processes on one run, and memory that is short."""

import os
import random
import resource
import signal
import time

import psutil
import pytest

from minigpt.io.journal import JOURNAL, read_journal
from minigpt.io.records import ResumeRecord, of_kind
from tasks.steps.training import OUT_OF_MEMORY
from tests.faults import checks
from tests.faults.tiny import Template, TinyRun, wait_until_stopped
from tests.faults.victim import POINTS, Signal

WHOLE = os.environ.get("MINIGPT_FAULTS") == "whole"
STOPPED_SECONDS = 60 if WHOLE else 2
TAKEN_OVER_SECONDS = 5


def anywhere(source: random.Random, template: Template, number: int) -> Signal:
    """At a random passing of a random point."""
    point = source.choice(list(POINTS))
    return Signal(point, source.choice(["before", "after"]), source.randint(1, template.passings[point]), number)


@pytest.mark.trials(default=4, whole=40)
def test_sigterm(trial: int, run: TinyRun, template: Template, source: random.Random) -> None:
    """SIGTERM at a random passing of a named point: a checkpoint, the status told, and the run goes on later"""
    assert run.live(at=anywhere(source, template, signal.SIGTERM)) == 0, run.log
    end = read_journal(run.folder / JOURNAL)[-1]
    assert (run.checkpoints / f"last-{end.step:07d}").exists()
    told = {"interrupted": "KILLED", "completed": "FINISHED"}
    assert checks.store_status(run.home / "mlflow.db") == told[end.status]
    run.finish()
    found = checks.outcome(run)
    assert checks.without_checkpoints(found) == checks.without_checkpoints(template.outcome)


@pytest.mark.trials(default=1, whole=1)
def test_sigstop(trial: int, run: TinyRun, template: Template, source: random.Random) -> None:
    """SIGSTOP for a while: nobody else may write the run meanwhile, and then it goes on"""
    process = run.start(at=Signal("step", "after", source.randint(1, 12), signal.SIGSTOP))
    wait_until_stopped(process)
    before = (run.folder / JOURNAL).read_bytes()
    assert run.live(lock_seconds=0.5) == 1
    assert "is being written by another process" in run.log
    time.sleep(STOPPED_SECONDS)
    assert (run.folder / JOURNAL).read_bytes() == before
    os.kill(int(process.pid or 0), signal.SIGCONT)
    process.join(60)
    assert process.exitcode == 0
    assert checks.outcome(run) == template.outcome


@pytest.mark.trials(default=2, whole=20)
def test_lock_holder_killed(trial: int, run: TinyRun, template: Template, source: random.Random) -> None:
    """The process that holds a run's lock is killed: the one that waits goes on within five seconds"""
    holder = run.start(at=Signal("step", "after", source.randint(1, 12), signal.SIGSTOP))
    wait_until_stopped(holder)
    waiting = run.start(lock_seconds=60)
    time.sleep(0.5)
    holder.kill()
    killed = time.monotonic()
    while not list(of_kind(read_journal(run.folder / JOURNAL), ResumeRecord)):
        assert time.monotonic() - killed < TAKEN_OVER_SECONDS
        time.sleep(0.01)
    waiting.join(60)
    assert waiting.exitcode == 0, run.log
    assert checks.outcome(run) == template.outcome


@pytest.mark.trials(default=3, whole=30)
def test_memory_short(trial: int, run: TinyRun, template: Template, source: random.Random) -> None:
    """Address space for a few more megabytes only (prlimit): an error that names memory, and the run goes on later"""
    process = run.start_stopped()
    pid = int(process.pid or 0)
    limit = psutil.Process(pid).memory_info().vms + source.randrange(16_000_000)
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
    os.kill(pid, signal.SIGCONT)
    process.join(60)
    assert not process.is_alive()
    if process.exitcode != 0:
        assert OUT_OF_MEMORY.search(run.log), (process.exitcode, run.log)
    run.finish()
    assert checks.outcome(run) == template.outcome


def test_lock_file_left(run: TinyRun, template: Template) -> None:
    """A lock file that a killed process left: no lock"""
    (run.folder / ".worker.lock").write_bytes(b"")
    run.finish()
    assert checks.outcome(run) == template.outcome
