"""What a person who watches is told."""

import logging
from pathlib import Path

import pytest

from tasks.reporting.progress import ProgressLog
from tasks.reporting.units import format_duration, format_usd
from tests import records
from tests.faults.tiny import tiny_job


@pytest.mark.parametrize(("cpu_class", "warnings"), [("A", 0), ("B", 1)])
def test_a_resume_on_another_machine_class_is_told(
    cpu_class: str, warnings: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        ProgressLog(tiny_job(tmp_path)).tell([records.start(), records.resume(cpu_class=cpu_class)])
    assert len(caplog.records) == warnings
    assert not warnings or "cpu_class: was A, is B" in caplog.text


def test_the_time_left_is_told_once_it_can_be_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = tiny_job(tmp_path)
    narrator, half = ProgressLog(job), job.config.training.max_steps // 2
    with caplog.at_level(logging.INFO):
        narrator.tell([records.evaluation(0)])
        assert "left" not in caplog.text
        narrator.tell([records.step(half, training_seconds=30.0, tokens_per_second=100.0)])
        narrator.tell([records.evaluation(half)])
    assert caplog.messages[-1].endswith(
        f"100 tokens/s, {format_duration(30.0 * (job.config.training.max_steps / half - 1))} left, $0.0008"
    )


@pytest.mark.parametrize(
    ("usd", "told"), [(0.0, "$0.0000"), (1e-6, "less than $0.0001"), (6e-5, "$0.0001"), (691_200, "$691200.0000")]
)
def test_what_costs_next_to_nothing_is_not_told_as_nothing(usd: float, told: str) -> None:
    assert format_usd(usd) == told
