"""The step `training`: start the training process, follow its journal, and send what it says to MLflow."""

import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from minigpt import checkpoint, cost
from minigpt.cost import CostConfig, Quote
from minigpt.evaluation import perplexity
from minigpt.journal import Reader, Record, ended
from minigpt.store import write_whole
from minigpt.worker import CHECKPOINTS, JOB, JOURNAL, TrainingJob
from tasks import tracking
from tasks.tracking import Follower, Run

log = logging.getLogger(__name__)

POLL_SECONDS = 0.3
# A checkpoint of a large model takes a while; after this the process is killed.
STOP_SECONDS = 120
LOG = "training.log"


class TrainingFailedError(Exception):
    """The training process ended without saying how: a fault of ours or of the machine."""


@dataclass(frozen=True)
class Trained:
    """How the training ended; everything else stands in the journal."""

    status: str
    steps: int
    training_seconds: float
    weights_sha256: str
    quote: Quote


@task(name="training", cache_policy=NO_CACHE)
def train(run: Run, job: TrainingJob, prices: CostConfig) -> Trained:
    """Train in a process of its own until its last step; the journal in the run's folder holds every step."""
    write_whole(run.folder / JOB, job.model_dump_json(indent=1).encode())
    follower = Follower(run, job.training.max_steps)
    narrator = Narrator(run, job, prices)
    reader = Reader(run.folder / JOURNAL)
    records = reader.new_records()  # of a run that is resumed; sending a point again changes nothing
    follower.send(records)
    narrator.tell(record for record in records if record["kind"] in ("start", "probe"))
    if not ended(records):
        with training_process(run.folder, job) as process:
            for new in follow(process, reader):
                follower.send(new)
                narrator.tell(new)
                records += new
        if process.returncode != 0 or records[-1]["kind"] != "end":
            tail = (run.folder / LOG).read_text(errors="replace").strip().splitlines()[-12:]
            raise TrainingFailedError(
                f"the training process ended with exit code {process.returncode}:\n" + "\n".join(tail)
            )
    end = records[-1]
    if end["status"] == "interrupted":
        raise KeyboardInterrupt
    if end["status"] == "differs" or narrator.quote is None:
        raise TrainingFailedError(f"run {run.run_id} cannot be continued: {end['error'] or 'it has no quote'}")
    return Trained(end["status"], end["step"], end["training_seconds"], end["weights_sha256"], narrator.quote)


@contextmanager
def training_process(folder: Path, job: TrainingJob) -> Iterator[subprocess.Popen[bytes]]:
    """The training process with the environment that the job records; it saves and ends when this block is left."""
    with (folder / LOG).open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "minigpt.worker", str(folder)],
            env={**os.environ, **job.environment.variables()},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.stdin:
            process.stdin.close()  # tells the process to save and end
        try:
            process.wait(STOP_SECONDS)
        except BaseException:
            process.kill()
            raise


def follow(process: subprocess.Popen[bytes], reader: Reader) -> Iterator[list[Record]]:
    """The journal's new records, time and again, until the process has ended and all are read."""
    while True:
        ended = process.poll() is not None
        if records := reader.new_records():
            yield records
        elif ended:
            return
        else:
            time.sleep(POLL_SECONDS)


class Narrator:
    """Tells a person what the journal says: the quote, each evaluation, each sample, the time left."""

    def __init__(self, run: Run, job: TrainingJob, prices: CostConfig) -> None:
        self._run, self._job, self._prices = run, job, prices
        self._start: Record = {}
        self._training_seconds = 0.0
        self._tokens_per_second = 0.0
        self.quote: Quote | None = None

    def tell(self, records: Iterable[Record]) -> None:
        for record in records:
            if record["kind"] == "start":
                self._start = record
                log.info("training %s parameters in a process of its own", f"{record['parameters']:,}")
            elif record["kind"] == "probe":
                self._tell_quote(record)
            elif record["kind"] == "step":
                self._training_seconds = record["training_seconds"]
                self._tokens_per_second = record["tokens_per_second"]
            elif record["kind"] == "evaluation":
                self._tell_evaluation(record)
            elif record["kind"] == "sample":
                log.info("step %d writes: %r", record["step"], record["text"])

    def _tell_quote(self, probe: Record) -> None:
        self.quote = quote = quote_for(self._job, self._prices, self._start, probe)
        values = {"seconds": quote.seconds, "usd": quote.bill.usd, "kwh": quote.bill.kwh, "co2_kg": quote.bill.co2_kg}
        values |= {"seconds_low": quote.seconds_low, "seconds_high": quote.seconds_high, "flops": quote.total_flops}
        tracking.log_values(self._run, {f"quote/{key}": value for key, value in values.items()}, 0, probe["time_ms"])
        log.info(
            "quote: %s (%s to %s), $%.4f, %.4f kWh, %.4f kg CO2 at %s",
            duration(quote.seconds),
            duration(quote.seconds_low),
            duration(quote.seconds_high),
            quote.bill.usd,
            quote.bill.kwh,
            quote.bill.co2_kg,
            f"${quote.bill.usd_per_hour:g} an hour and {quote.bill.watts:g} W",
        )

    def _tell_evaluation(self, record: Record) -> None:
        step, last = record["step"], self._job.training.max_steps
        done = max(step / last, 1e-9)
        left = self.quote.seconds if self.quote and not step else self._training_seconds * (1 / done - 1)
        log.info(
            "step %*d of %d: train %.3f, val %.3f, perplexity %.4g, %.3f bits/byte, %.0f tokens/s, %s left, $%.4f",
            len(str(last)),
            step,
            last,
            record["train_loss"],
            record["val_loss"],
            perplexity(record["val_loss"]),
            record["val_bits_per_byte"],
            self._tokens_per_second,
            duration(left) if step or self.quote else "?",
            cost.bill(self._training_seconds, self._prices).usd,
        )


def quote_for(job: TrainingJob, prices: CostConfig, start: Record, probe: Record) -> Quote:
    """The price of the whole training from what the untrained model and the probed steps took."""
    config, steps = job.training, job.training.max_steps
    evaluations = sum(job.evaluation.due(step) or step == steps for step in range(1, steps + 1))
    every = job.sampling.every_steps
    # Every evaluation is taken to be the best so far; a full checkpoint holds the weights three times.
    full = steps // config.checkpoint_every_steps if config.checkpoint_every_steps else 0
    sampled = steps // every if every else 0
    return cost.quote(
        parameters=start["parameters"],
        flops_per_token=cost.flops_per_token_palm(
            start["multiplied_parameters"],
            job.model.layers,
            job.model.heads,
            job.model.width // job.model.heads,
            job.model.context_length,
        ),
        flops_formula=cost.PALM_FORMULA,
        step_seconds=probe["step_seconds"],
        steps=steps,
        tokens_per_step=config.tokens_per_step(job.model.context_length),
        other_seconds=evaluations * probe["evaluation_seconds"]
        + sampled * probe["sample_seconds"]
        + (evaluations + 3 * full) * probe["checkpoint_seconds"],
        config=prices,
    )


def duration(seconds: float) -> str:
    """Seconds as 0:42, 12:05 or 3:00:10."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def last_checkpoint(run: Run) -> Path:
    """The newest whole checkpoint: the last weights, or the last good ones of a training that diverged."""
    checkpoints = run.folder / CHECKPOINTS
    folder = checkpoint.newest(checkpoints, "last") or checkpoint.newest(checkpoints, "best")
    if folder is None:
        raise TrainingFailedError(f"no whole checkpoint is left in {checkpoints}")
    return folder


def bill_values(trained: Trained, prices: CostConfig) -> dict[str, float]:
    """What the training cost, and by which share of it the quote was off."""
    bill = asdict(cost.bill(trained.training_seconds, prices))
    values = {key: bill[key] for key in ("seconds", "usd", "kwh", "co2_kg")}
    return {**values, "quote_error_fraction": trained.quote.seconds / max(trained.training_seconds, 1e-9) - 1}
