"""The work of the training process: one run, from its start or its last intact checkpoint to its end.

The process reads job.json and writes a journal and checkpoints, nothing else. Started again in the same folder, it
resumes from the last intact checkpoint and compares each step that it repeats with the journal.
"""

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from minigpt.checkpoints.folders import checkpoint_to_resume, step_of
from minigpt.checkpoints.format import check_disk_space, load_optimizers, load_weights, weights_of, weights_sha256
from minigpt.checkpoints.manager import CheckpointManager
from minigpt.data.tokenizer import TOKENIZER_FILE, load_tokenizer
from minigpt.data.tokens import SIDES
from minigpt.errors import InputError
from minigpt.evaluation.loss import evaluate
from minigpt.generation.generate import complete_prompt
from minigpt.generation.sampling import Sampler
from minigpt.io.journal import JOURNAL, Journal, read_journal
from minigpt.io.records import (
    FORMAT_VERSION,
    CheckpointRecord,
    EndRecord,
    EvaluationRecord,
    ProbeRecord,
    RepeatedRecord,
    ResumeRecord,
    SampleRecord,
    StartRecord,
    StepRecord,
    of_kind,
    values_of,
)
from minigpt.io.store import delete_temporaries
from minigpt.model.gpt import count_multiplied_parameters, count_parameters
from minigpt.model.init import build_model
from minigpt.runtime.environment import apply_environment, process_facts
from minigpt.training.job import CHECKPOINTS, read_job
from minigpt.training.loop import DivergedError, StepMetrics, train
from minigpt.training.optimizers import make_optimizers
from minigpt.training.probe import probe
from minigpt.training.quote import quote_for

WRITER_LOCK = ".worker.lock"
# The training process of a command that was killed saves and ends within this time; two never write one run.
WRITER_LOCK_SECONDS = 120

# Fields of a record that are measured and not computed.
MEASURED = ("time_ms", "tokens_per_second", "training_seconds")


StepResult = StepRecord | EvaluationRecord | SampleRecord


class ContinuationError(Exception):
    """A repeated step gave other values than the journal has."""


class Trainer:
    """One run in one process: everything that is in memory between two steps."""

    def __init__(self, run_folder: Path) -> None:
        job = read_job(run_folder)
        self.config = config = job.config
        self.checkpoints = run_folder / CHECKPOINTS
        self.checkpoints.mkdir(exist_ok=True)
        self.lock = FileLock(run_folder / WRITER_LOCK)
        try:
            self.lock.acquire(timeout=WRITER_LOCK_SECONDS)
        except Timeout as error:
            raise InputError(
                f"run {run_folder.name} is being written by another process; wait for its end, or end it"
            ) from error
        delete_temporaries(run_folder)
        delete_temporaries(self.checkpoints)
        self.journal = Journal(run_folder / JOURNAL)
        records = read_journal(run_folder / JOURNAL)
        self.is_probed = any(of_kind(records, ProbeRecord))
        results: Iterator[StepResult] = of_kind(records, StepRecord, EvaluationRecord, SampleRecord)
        self.known = {(record.kind, record.step): record for record in results}
        self.saved = {record.name for record in of_kind(records, CheckpointRecord)}
        # A repeated step costs its time again, each time it is repeated.
        paid: Iterator[StepRecord | RepeatedRecord | EndRecord] = of_kind(
            records, StepRecord, RepeatedRecord, EndRecord
        )
        self.training_seconds = max((record.training_seconds for record in paid), default=0.0)
        self.saver = CheckpointManager(
            self.checkpoints,
            job.tokens_folder / TOKENIZER_FILE,
            self.journal,
            self.saved,
            kept=config.training.kept_checkpoints,
            keep_every_steps=config.training.keep_every_steps,
        )
        apply_environment(config.environment)
        self.windows = {side: job.windows(side) for side in SIDES}
        self.tokenizer = load_tokenizer(job.tokens_folder / TOKENIZER_FILE)
        self.token_bytes = torch.from_numpy(self.tokenizer.token_bytes())
        self.model = build_model(config.model, self.tokenizer.vocabulary_size, config.seed)
        self.optimizers = make_optimizers(self.model, config.training)
        self.process = StartRecord(
            **process_facts(),
            parameters=count_parameters(self.model),
            multiplied_parameters=count_multiplied_parameters(self.model),
            format_version=FORMAT_VERSION,
        )
        self.start = next(of_kind(records, StartRecord), self.process)
        self.best_val_loss = math.inf
        self.evaluations_since_best = 0
        self.stop = threading.Event()

    def run(self) -> None:
        """Train until the last step, a stop, or a divergence; the journal's last record says which."""
        check_disk_space(self.checkpoints, self.model, self.config.training.full_checkpoints)
        step, status, error = self._continue(), "completed", None
        try:
            if step == 0:
                self._begin()
            elif self._stops_early():  # a kill came after the decision
                status = "stopped_early"
            started = time.perf_counter() - self.training_seconds
            steps = train(
                self.model, self.optimizers, self.windows["train"], self.config.training, self.config.seed, step
            )
            for metrics in steps if status == "completed" else ():
                step = metrics.step
                self.training_seconds = time.perf_counter() - started
                self._after_step(metrics)
                if self.stop.is_set():
                    status = "interrupted"
                    break
                if self._stops_early():
                    status = "stopped_early"
                    break
            self.training_seconds = time.perf_counter() - started
        except DivergedError as diverged:
            status, error = "diverged", str(diverged)
        except ContinuationError as differs:
            status, error = "differs", str(differs)
        if status not in ("diverged", "differs"):
            self._save_last(step)
        digest = weights_sha256(weights_of(self.model))  # while the disk writes the checkpoint
        self.saver.finish()
        self.journal.append(
            EndRecord(
                status=status,
                error=error,
                step=step,
                training_seconds=self.training_seconds,
                weights_sha256=digest,
            )
        )
        self.journal.sync()

    def _continue(self) -> int:
        """Load the newest intact checkpoint, and return its step; 0 if none was written yet."""
        folder, damaged = checkpoint_to_resume(self.checkpoints, self.saved)
        last = step_of(folder) if folder else 0
        if self.start is self.process:
            self.journal.append(self.start)
        else:
            self.journal.append(ResumeRecord(**values_of(self.process), after_step=last, damaged=damaged))
        if folder:
            state = load_weights(folder, self.model)
            load_optimizers(folder, self.optimizers)
            self.best_val_loss = state["best_val_loss"]
            self.evaluations_since_best = state["evaluations_since_best"]
        return last

    def _begin(self) -> None:
        """Measure the untrained model, and the time that each part of the training takes, for the quote."""
        step_seconds = [] if self.is_probed else self._probe()
        started = time.perf_counter()
        self._evaluate(0)
        evaluated = time.perf_counter()
        self._sample(0)
        sampled = time.perf_counter()
        self._save_best(0)
        if not self.is_probed:
            measured = ProbeRecord(
                step_seconds=step_seconds,
                evaluation_seconds=evaluated - started,
                sample_seconds=sampled - evaluated,
                checkpoint_seconds=time.perf_counter() - sampled,
            )
            self.journal.append(replace(measured, quote=quote_for(self.config, self.start, measured)))

    def _record(self, record: StepResult) -> None:
        """Journal a result, or compare it with the record of the same step.

        A repeated step keeps its first time in the journal, and its cost counts again. Raises ContinuationError.
        """
        known = self.known.get((record.kind, record.step))
        if known is None:
            self.journal.append(record)
            return
        before = values_of(known)
        for name, value in values_of(record).items():
            if name not in MEASURED and value != before[name]:
                raise ContinuationError(
                    f"step {record.step} repeated gives {name} {value!r}, and the journal has {before[name]!r}"
                )
        if isinstance(record, StepRecord):
            self.journal.append(RepeatedRecord(step=record.step, training_seconds=record.training_seconds))

    def _probe(self) -> list[float]:
        """Seconds of a few real steps, which leave the model as it was."""
        seconds = probe(self.model, self.windows["train"], self.config.training, self.config.seed)
        self.model.zero_grad(set_to_none=True)
        return seconds

    def _after_step(self, metrics: StepMetrics) -> None:
        step, config = metrics.step, self.config
        self.saver.note()
        self._record(StepRecord(**vars(metrics), training_seconds=self.training_seconds))
        measured = config.evaluation.due(step) or step == config.training.max_steps
        if measured and self._evaluate(step):
            self._save_best(step)
        if config.sampling.every_steps and step % config.sampling.every_steps == 0:
            self._sample(step)
        every = config.training.checkpoint_every_steps
        if every and step % every == 0 and step < config.training.max_steps:
            self._save_last(step)

    def _evaluate(self, step: int) -> bool:
        """Journal an evaluation; True if its validation loss is the lowest so far."""
        config = self.config.evaluation
        read_first = self.windows["train"].read_first(config.batch_size, config.train_batches, self.config.seed)
        train_side = evaluate(self.model, read_first, self.token_bytes)
        unread = self.windows["val"].in_order(config.batch_size, config.validation_batches)
        val_side = evaluate(self.model, unread, self.token_bytes)
        for name, measured in (("training", train_side), ("validation", val_side)):
            if not math.isfinite(measured.loss):
                raise DivergedError(step, f"{name} loss", measured.loss)
        self._record(
            EvaluationRecord(
                step=step,
                train_loss=train_side.loss,
                val_loss=val_side.loss,
                train_bits_per_byte=train_side.bits_per_byte,
                val_bits_per_byte=val_side.bits_per_byte,
            )
        )
        better = val_side.loss < self.best_val_loss
        self.best_val_loss = min(val_side.loss, self.best_val_loss)
        self.evaluations_since_best = 0 if better else self.evaluations_since_best + 1
        return better

    def _stops_early(self) -> bool:
        patience = self.config.training.early_stopping_evaluations
        return patience is not None and self.evaluations_since_best >= patience

    def _sample(self, step: int) -> None:
        config = self.config.sampling
        [text] = complete_prompt(self.model, self.tokenizer, config.prompt, [Sampler()], config.max_new_tokens)
        self._record(SampleRecord(step=step, text=text))

    def _facts(self, step: int) -> dict[str, Any]:
        return {
            "step": step,
            "best_val_loss": self.best_val_loss,
            "evaluations_since_best": self.evaluations_since_best,
        }

    def _save_best(self, step: int) -> None:
        self.saver.save("best", self.model, self._facts(step))

    def _save_last(self, step: int) -> None:
        self.saver.save("last", self.model, self._facts(step), self.optimizers)
