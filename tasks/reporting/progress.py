"""Log the progress of a training for a person who watches it."""

import logging
import time
from collections.abc import Callable, Iterable

from minigpt.cost.price import Quote, make_bill
from minigpt.evaluation.perplexity import perplexity
from minigpt.io.records import (
    EvaluationRecord,
    ProbeRecord,
    Record,
    ResumeRecord,
    SampleRecord,
    StartRecord,
    StepRecord,
)
from minigpt.runtime.machine import BITS
from minigpt.training.job import TrainingJob
from tasks.reporting.units import PROGRESS_LEVEL, format_duration, format_usd
from tasks.runs.provenance import fact_differences

log = logging.getLogger(__name__)

# Without any other line, a training logs one as often.
PROGRESS_SECONDS = 60.0


class ProgressLog:
    """Logs journal records as lines for a person: the quote, each evaluation with the time left, each sample."""

    def __init__(self, job: TrainingJob, clock: Callable[[], float] = time.monotonic) -> None:
        self._job, self._clock = job, clock
        self._last_line = clock()
        self._start: StartRecord | None = None
        self._training_seconds = 0.0
        self._tokens_per_second = 0.0

    def log_records(self, records: Iterable[Record]) -> None:
        step = None
        for record in records:
            if isinstance(record, StartRecord):
                self._start = record
                log.info("training %s parameters in a process of its own", f"{record.parameters:,}")
            elif isinstance(record, ResumeRecord) and self._start:
                _log_resume(record, self._start)
            elif isinstance(record, ProbeRecord) and record.quote:
                _log_quote(record.quote)
            elif isinstance(record, StepRecord):
                step = record
                self._training_seconds = record.training_seconds
                self._tokens_per_second = record.tokens_per_second
            elif isinstance(record, EvaluationRecord):
                self._log_evaluation(record)
            elif isinstance(record, SampleRecord):
                log.info("step %d writes: %r", record.step, record.text)
        if step is not None and self._clock() - self._last_line >= PROGRESS_SECONDS:
            self._last_line = self._clock()
            last = self._job.config.training.max_steps
            line = f"step {step.step:{len(str(last))}} of {last}: train {step.loss:.3f}"
            log.log(PROGRESS_LEVEL, "%s, %s", line, self._speed_and_cost(step.step))

    def _speed_and_cost(self, step: int) -> str:
        left = format_duration(self._training_seconds * (self._job.config.training.max_steps / step - 1))
        usd = format_usd(make_bill(self._training_seconds, self._job.config.prices).usd)
        return f"{self._tokens_per_second:.0f} tokens/s, {left} left, {usd}"

    def _log_evaluation(self, record: EvaluationRecord) -> None:
        step, last = record.step, self._job.config.training.max_steps
        line = (
            f"step {step:{len(str(last))}} of {last}: train {record.train_loss:.3f}, val {record.val_loss:.3f}, "
            f"perplexity {perplexity(record.val_loss):.4g}, {record.val_bits_per_byte:.3f} bits/byte"
        )
        if step == 0:  # nothing has been timed yet, and the quote says how long the training takes
            log.info("%s", line)
            return
        log.info("%s, %s", line, self._speed_and_cost(step))


def _log_quote(quote: Quote) -> None:
    log.info(
        "quote: %s (%s to %s), %s, %.4f kWh, %.4f kg CO2 at %s",
        format_duration(quote.seconds),
        format_duration(quote.seconds_low),
        format_duration(quote.seconds_high),
        format_usd(quote.bill.usd),
        quote.bill.kwh,
        quote.bill.co2_kg,
        f"${quote.bill.usd_per_hour:g} an hour and {quote.bill.watts:g} W",
    )


def _log_resume(record: ResumeRecord, start: StartRecord) -> None:
    log.info("continuing after step %d", record.after_step)
    before, now = ({key: getattr(process, key) for key in BITS} for process in (start, record))
    if changed := fact_differences(before, now):
        log.warning(
            "this machine differs from the one that started the run, so expect different bits from here on: %s",
            "; ".join(changed),
        )
    if record.damaged:
        log.warning("damaged or missing checkpoints, not used: %s", ", ".join(record.damaged))
