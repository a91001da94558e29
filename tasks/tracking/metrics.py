"""Turn a journal into MLflow metrics.

This is a pure function of the records, so sending a journal again sends the same points.
"""

from collections.abc import Iterable, Iterator

from minigpt.cost.price import Quote
from minigpt.evaluation.perplexity import perplexity
from minigpt.io.records import EvaluationRecord, ProbeRecord, Record, StepRecord
from minigpt.training.job import TrainingJob
from minigpt.training.quote import with_quote
from tasks.runs.result import Result
from tasks.tracking.write import Point

# More points make MLflow's pages slow.
CURVE_POINTS = 2000

# MLflow metric -> record field. MLflow's pages show one section per prefix.
STEP_METRICS = {
    "loss/train_step": "loss",
    "optimizer/learning_rate": "learning_rate",
    "optimizer/gradient_norm": "gradient_norm",
    "throughput/tokens_seen": "tokens_seen",
    "throughput/tokens_per_second": "tokens_per_second",
}
EVALUATION_METRICS = {
    "loss/train": "train_loss",
    "loss/val": "val_loss",
    "bits_per_byte/train": "train_bits_per_byte",
    "bits_per_byte/val": "val_bits_per_byte",
}


def keeps_step(step: int, max_steps: int) -> bool:
    """True if this step's points are sent: the first, the last, and at most CURVE_POINTS at even distances."""
    stride = -(-max_steps // CURVE_POINTS)
    return step % stride == 0 or step in (1, max_steps)


class MetricPoints:
    """Turns journal records into points. Records must be passed in the journal's order, to find the best so far."""

    def __init__(self, job: TrainingJob) -> None:
        self._job = job
        self._best_val_loss = float("inf")

    def points(self, record: Record) -> Iterator[Point]:
        step, values = 0, dict[str, float]()
        if isinstance(record, ProbeRecord) and record.quote:
            values = _quote_values(record.quote)
        elif isinstance(record, StepRecord) and keeps_step(record.step, self._job.config.training.max_steps):
            step, values = record.step, {key: getattr(record, field) for key, field in STEP_METRICS.items()}
        elif isinstance(record, EvaluationRecord):
            step, values = record.step, self._evaluation_values(record)
        return (Point(key, value, record.time_ms, step) for key, value in values.items())

    def _evaluation_values(self, record: EvaluationRecord) -> dict[str, float]:
        values: dict[str, float] = {key: getattr(record, field) for key, field in EVALUATION_METRICS.items()}
        values |= {"perplexity/train": perplexity(record.train_loss), "perplexity/val": perplexity(record.val_loss)}
        if record.val_loss < self._best_val_loss:
            self._best_val_loss = record.val_loss
            values |= {
                "best/val_loss": record.val_loss,
                "best/perplexity": perplexity(record.val_loss),
                "best/bits_per_byte": record.val_bits_per_byte,
                "best/step": record.step,
            }
        return values


def journal_points(records: Iterable[Record], job: TrainingJob) -> list[Point]:
    """All points of a complete list of journal records."""
    curves = MetricPoints(job)
    return [point for record in with_quote(records, job) for point in curves.points(record)]


def _quote_values(quote: Quote) -> dict[str, float]:
    return {
        "quote/seconds": quote.seconds,
        "quote/seconds_low": quote.seconds_low,
        "quote/seconds_high": quote.seconds_high,
        "quote/flops": quote.total_flops,
        "quote/usd": quote.bill.usd,
        "quote/kwh": quote.bill.kwh,
        "quote/co2_kg": quote.bill.co2_kg,
    }


def final_points(result: Result, time_ms: int) -> list[Point]:
    """The metrics of the last weights, the bill and the held-out text, as points at the last step."""
    return [Point(key, value, time_ms, result.steps) for key, value in result.metrics().items()]
