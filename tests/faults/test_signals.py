"""Signals, two processes on one run, and memory that is short."""

import os
import random
import re
import resource
import signal
import time
from pathlib import Path

import psutil
import pytest

from minigpt import journal
from minigpt.worker import JOURNAL
from tests.faults import checks
from tests.faults.tiny import Template, TinyRun, wait_until_stopped

WHOLE = os.environ.get("MINIGPT_FAULTS") == "whole"
STOPPED_SECONDS = 60 if WHOLE else 2
TAKEN_OVER_SECONDS = 5
OUT_OF_MEMORY = re.compile(r"MemoryError|not enough memory|[Cc]annot allocate|can't allocate|bad_alloc|out of memory")


def wait_for_steps(run: TinyRun, steps: int) -> None:
    deadline = time.monotonic() + 30
    while len(journal.curve(journal.read(run.folder / JOURNAL))) < steps:
        assert time.monotonic() < deadline, run.log
        time.sleep(0.002)


@pytest.mark.trials(default=3, whole=20)
def test_sigterm(trial: int, run: TinyRun, template: Template, source: random.Random) -> None:
    """SIGTERM at a random step: a checkpoint, the status told, and the run goes on later"""
    process = run.start()
    step = source.randint(1, 9)
    wait_for_steps(run, step)
    process.terminate()
    process.join(60)
    assert process.exitcode == 0, run.log
    end = journal.read(run.folder / JOURNAL)[-1]
    if end["status"] == "interrupted":
        assert (run.checkpoints / f"last-{end['step']:07d}").exists()
        assert checks.store_status(run.home / "mlflow.db") == "KILLED"
    run.finish()
    found = checks.outcome(run)
    assert checks.without_checkpoints(found) == checks.without_checkpoints(template.outcome)


@pytest.mark.trials(default=1, whole=3)
def test_sigstop(trial: int, run: TinyRun, template: Template, source: random.Random) -> None:
    """SIGSTOP for a while: nobody else may write the run meanwhile, and then it goes on"""
    process = run.start()
    wait_for_steps(run, source.randint(1, 9))
    os.kill(int(process.pid or 0), signal.SIGSTOP)
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
    holder = run.start()
    wait_for_steps(run, source.randint(1, 9))
    os.kill(int(holder.pid or 0), signal.SIGSTOP)
    wait_until_stopped(holder)
    waiting = run.start(lock_seconds=60)
    time.sleep(0.5)
    holder.kill()
    killed = time.monotonic()
    while not list(journal.of_kind(journal.read(run.folder / JOURNAL), "resume")):
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


def test_the_lock_is_no_file_that_stays(run: TinyRun, template: Template, tmp_path: Path) -> None:
    """A lock file that a killed process left"""
    (run.folder / ".worker.lock").write_bytes(b"")
    run.finish()
    assert checks.outcome(run) == template.outcome
