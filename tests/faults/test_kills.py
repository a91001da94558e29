"""SIGKILL at every moment that has a name, at random ones, and again while the run goes on."""

import random

import pytest

from tests.faults import checks
from tests.faults.tiny import Template, TinyRun
from tests.faults.victim import POINTS, Signal

KILLED = -9


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


def kill_at_random(run: TinyRun, seconds: float, source: random.Random) -> None:
    process = run.start()
    process.join(source.uniform(0, seconds))
    process.kill()
    process.join()


@pytest.mark.trials(default=20, whole=300)
def test_a_random_moment(trial: int, run: TinyRun, template: Template, source: random.Random) -> None:
    """SIGKILL at a random moment of trainer, journal and store"""
    kill_at_random(run, template.seconds, source)
    run.finish()
    assert checks.outcome(run) == template.outcome


@pytest.mark.trials(default=4, whole=50)
def test_five_times(trial: int, run: TinyRun, template: Template, source: random.Random) -> None:
    """SIGKILL five times in one run, at random moments of it and of its resumes"""
    for _ in range(5):
        kill_at_random(run, template.seconds, source)
    run.finish()
    assert checks.outcome(run) == template.outcome
