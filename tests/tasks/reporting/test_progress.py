"""What a person who watches is told."""

import io
import logging
from pathlib import Path

import pytest

from flows.console import show_log
from tasks.reporting.progress import ProgressLog
from tasks.reporting.units import PROGRESS_LEVEL, format_duration, format_usd
from tests import records
from tests.faults.tiny import tiny_job


@pytest.mark.parametrize(("cpu_class", "warnings"), [("A", 0), ("B", 1)])
def test_a_resume_on_another_machine_class_is_told(
    cpu_class: str, warnings: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        ProgressLog(tiny_job(tmp_path)).log_records([records.start(), records.resume(cpu_class=cpu_class)])
    assert len(caplog.records) == warnings
    assert not warnings or "cpu_class: was A, is B" in caplog.text


def test_the_time_left_is_told_once_it_can_be_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = tiny_job(tmp_path)
    narrator, half = ProgressLog(job), job.config.training.max_steps // 2
    with caplog.at_level(logging.INFO):
        narrator.log_records([records.evaluation(0)])
        assert "left" not in caplog.text
        narrator.log_records([records.step(half, training_seconds=30.0, tokens_per_second=100.0)])
        narrator.log_records([records.evaluation(half)])
    assert caplog.messages[-1].endswith(
        f"100 tokens/s, {format_duration(30.0 * (job.config.training.max_steps / half - 1))} left, $0.0008"
    )


@pytest.mark.parametrize(
    ("usd", "told"), [(0.0, "$0.0000"), (1e-6, "less than $0.0001"), (6e-5, "$0.0001"), (691_200, "$691200.0000")]
)
def test_what_costs_next_to_nothing_is_not_told_as_nothing(usd: float, told: str) -> None:
    assert format_usd(usd) == told


def test_a_training_without_other_lines_logs_one_a_minute(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At a level that an output without a terminal shows too."""
    seconds = 0.0
    job = tiny_job(tmp_path)
    progress, last = ProgressLog(job, lambda: seconds), job.config.training.max_steps
    with caplog.at_level(PROGRESS_LEVEL):
        for number in range(1, 10):
            seconds = 20.0 * number
            progress.log_records([records.step(number, training_seconds=seconds, tokens_per_second=100.0)])
    assert [message.partition(":")[0] for message in caplog.messages] == [
        f"step {number:{len(str(last))}} of {last}" for number in (3, 6, 9)
    ]
    assert caplog.messages[0].endswith(f"{format_duration(60.0 * (last / 3 - 1))} left, $0.0017")


@pytest.mark.parametrize(("quiet", "shown"), [(False, True), (True, False)])
def test_an_output_without_a_terminal_shows_it_unless_it_is_to_be_quiet(
    quiet: bool, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    loggers = [logging.getLogger(name) for name in ("tasks", "minigpt", "flows")]
    before = [list(logger.handlers) for logger in loggers]
    show_log(quiet)
    handler = loggers[0].handlers[-1]
    for logger, handlers in zip(loggers, before, strict=True):
        logger.handlers = handlers
    assert (handler.level <= PROGRESS_LEVEL) == shown
    assert handler.level > logging.INFO
