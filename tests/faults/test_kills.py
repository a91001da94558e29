"""SIGKILL at every moment that has a name, at random ones, and again while the run goes on."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt.io.journal import JOURNAL, read_journal
from minigpt.training.job import JOB
from tests.faults import checks
from tests.faults.tiny import Template, TinyRun
from tests.faults.victim import POINTS, Signal

KILLED = -9
WHOLE = os.environ.get("MINIGPT_FAULTS") == "whole"
# Without that not every passing of a point, but so many.
SAMPLES = 2


@pytest.mark.trials(default=1, whole=3)
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("point", POINTS)
def test_named_points(
    point: str, side: str, trial: int, run: TinyRun, template: Template, source: random.Random
) -> None:
    """SIGKILL before and after each named point, at a random passing"""
    at = Signal(point, side, source.randint(1, template.passings[point]))
    assert run.live(at=at) == KILLED
    run.finish()
    assert checks.outcome(run) == template.outcome


@pytest.mark.timeout(900)
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("point", ["fsync", "rename"])
def test_each_in_turn(
    point: str,
    side: str,
    template: Template,
    tmp_path: Path,
    source: random.Random,
    record_property: Callable[[str, object], None],
) -> None:
    """SIGKILL before and after each fsync and each rename of a run in turn"""
    every = range(1, template.passings[point] + 1)
    passings = every if WHOLE else source.sample(every, SAMPLES)
    record_property("trials", len(passings))
    for passing in passings:
        run = template.copy(tmp_path / str(passing))
        assert run.live(at=Signal(point, side, passing)) == KILLED
        run.finish()
        assert checks.outcome(run) == template.outcome, f"{point} number {passing}"
        shutil.rmtree(run.home)


@pytest.mark.trials(default=1, whole=3)
def test_patience(trial: int, run: TinyRun, tmp_path: Path, source: random.Random) -> None:
    """SIGKILL while a run waits for a lower loss: it stops early where one stops that nothing disturbed"""
    job = json.loads((run.folder / JOB).read_bytes())
    job["config"]["training"] |= {"early_stopping_evaluations": 2, "learning_rate": 5.0, "checkpoint_every_steps": 1}
    (run.folder / JOB).write_text(json.dumps(job))
    undisturbed = run.copy(tmp_path / "undisturbed")
    undisturbed.finish()
    end = read_journal(undisturbed.folder / JOURNAL)[-1]
    assert (end.status, end.step) == ("stopped_early", 8)
    assert run.live(at=Signal("step", "after", source.choice((6, 7)))) == KILLED
    run.finish()
    assert checks.outcome(run) == checks.outcome(undisturbed)


def kill_at_random(run: TinyRun, seconds: float, source: random.Random) -> None:
    process = run.start()
    process.join(source.uniform(0, seconds))
    process.kill()
    process.join()


@pytest.mark.trials(default=12, whole=300)
def test_a_random_moment(trial: int, run: TinyRun, template: Template, source: random.Random) -> None:
    """SIGKILL at a random moment of trainer, journal and store"""
    kill_at_random(run, template.seconds, source)
    run.finish()
    assert checks.outcome(run) == template.outcome


@pytest.mark.trials(default=3, whole=50)
def test_five_times(trial: int, run: TinyRun, template: Template, source: random.Random) -> None:
    """SIGKILL five times in one run, at random moments of it and of its resumes"""
    for _ in range(5):
        kill_at_random(run, template.seconds, source)
    run.finish()
    assert checks.outcome(run) == template.outcome
