"""Verify a run: its files are intact, its curve belongs to its weights, and MLflow has the same points."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from minigpt.checkpoints.folders import is_intact, newest_intact, newest_journalled, step_of, written_checkpoints
from minigpt.checkpoints.format import load_checkpoint, weights_of, weights_sha256
from minigpt.data.split import split_byte
from minigpt.data.tokenizer import Tokenizer
from minigpt.data.windows import Windows, cut_windows
from minigpt.errors import InputError
from minigpt.evaluation.loss import evaluate
from minigpt.io.journal import JOURNAL, DamagedJournalError, curve_sha256, loss_curve, read_journal
from minigpt.io.records import EndRecord, EvaluationRecord, Record, ResumeRecord, StartRecord, of_kind
from minigpt.io.store import sha256_of_file
from minigpt.io.text import blocks, size_bytes
from minigpt.recipe import RunConfig
from minigpt.runtime.environment import apply_environment, process_facts
from minigpt.runtime.machine import BITS
from minigpt.training.job import CHECKPOINTS, read_job
from tasks.runs.files import CORPUS_FILE
from tasks.runs.lease import is_owned
from tasks.runs.run import Run
from tasks.tracking.client import StoreError
from tasks.tracking.metrics import journal_points
from tasks.tracking.tracker import Tracker

# Nats per token by which an evaluation may differ between machine classes, which sum fp32 in different orders.
EVALUATION_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Check:
    """One check: its name, its outcome, and a sentence about what was found."""

    name: str
    holds: bool
    found: str


def verify_run(run: Run, tracker: Tracker) -> Iterator[Check]:
    """Check a run of this home that is not being written.

    Raises InputError if the run has no journal here, is still being written, or was stopped before its training began.
    """
    if not (run.folder / JOURNAL).exists():
        raise InputError(f"run {run.run_id} has no journal in {run.folder}; verify it in the home where it was trained")
    if is_owned(run.folder):
        raise InputError(f"run {run.run_id} is still being written; verify it when it has ended")
    try:
        records = read_journal(run.folder / JOURNAL)
    except DamagedJournalError as error:
        yield Check("journal", False, str(error))
        return
    if not any(of_kind(records, StartRecord)):
        raise InputError(f"run {run.run_id} was stopped before its training began, so there is nothing to verify")
    yield _corpus(run)
    yield _journal(run, records)
    yield from _checkpoints(run, records)
    yield from _weights(run, records)
    yield _mlflow(run, tracker, records)


def _corpus(run: Run) -> Check:
    sha256, kept = run.facts().corpus.sha256, run.folder / CORPUS_FILE
    if not kept.exists():
        return Check("corpus", True, f"not kept with the run; it has sha256 {sha256[:16]}")
    holds = sha256_of_file(kept) == sha256
    return Check("corpus", holds, f"sha256 {sha256[:16]}" if holds else f"no longer the text with sha256 {sha256[:16]}")


def _journal(run: Run, records: Sequence[Record]) -> Check:
    curve = loss_curve(records)
    if [step for step, _ in curve] != list(range(1, len(curve) + 1)):
        return Check("journal", False, "its steps are not 1, 2, 3, ..., each once")
    sha256, result = curve_sha256(curve), run.result()
    if result is not None and sha256 != result.curve_sha256:
        return Check("journal", False, f"its curve has sha256 {sha256[:16]}, the result {result.curve_sha256[:16]}")
    return Check("journal", True, f"{len(curve):,} steps, curve sha256 {sha256[:16]}")


def _checkpoints(run: Run, records: Sequence[Record]) -> Iterator[Check]:
    roles = ("best", "last")
    names = {path.name for role in roles for path in written_checkpoints(run.folder / CHECKPOINTS, role)}
    if not names:
        yield Check("checkpoints", False, "the run has no checkpoint")
    newest = {name for role in roles if (name := newest_journalled(records, role))}
    for name in sorted(names | newest):
        intact = is_intact(run.folder / CHECKPOINTS / name)
        found = "all files match their digests" if intact else "a file is missing or was changed"
        yield Check(name, intact, found if name in names else "the folder is gone")


def _weights(run: Run, records: Sequence[Record]) -> Iterator[Check]:
    """Compare the weights with the digest at the training's end, and their validation loss with the curve."""
    config = read_job(run.folder).config
    apply_environment(config.environment)
    begun, facts = list(of_kind(records, StartRecord, ResumeRecord)), process_facts()
    same_class = all(getattr(record, key) == facts[key] for record in begun for key in BITS)
    measured = {record.step: record for record in of_kind(records, EvaluationRecord)}
    ended = {record.step: record.weights_sha256 for record in of_kind(records, EndRecord)}
    for role in ("best", "last"):
        folder = newest_intact(run.folder / CHECKPOINTS, role)
        if folder is None:
            continue
        model, tokenizer = load_checkpoint(folder)
        step = step_of(folder)
        if role == "last" and step in ended:
            sha256 = weights_sha256(weights_of(model))
            yield Check("weights", sha256 == ended[step], f"of step {step}, sha256 {sha256[:16]}")
        if step in measured and (run.folder / CORPUS_FILE).exists():
            windows = _validation_windows(run.folder / CORPUS_FILE, tokenizer, config)
            batches = windows.in_order(config.evaluation.batch_size, config.evaluation.validation_batches)
            loss = evaluate(model, batches, torch.from_numpy(tokenizer.token_bytes())).loss
            yield _loss(f"{role} loss", step, loss, measured[step].val_loss, same_class)


def _validation_windows(text_file: Path, tokenizer: Tokenizer, config: RunConfig) -> Windows:
    """Cut the validation windows again, from the run's copy of the text and the checkpoint's tokenizer."""
    with text_file.open("rb") as text:
        side = b"".join(blocks(text, split_byte(text, config.split), size_bytes(text)))
    tokens = tokenizer.encode(side.decode())
    return cut_windows(tokens, "val", config.model.context_length, config.split)


def _loss(name: str, step: int, now: float, then: float, same_class: bool) -> Check:
    if same_class:
        return Check(name, now == then, f"validation at step {step} gives {now!r}, the curve has {then!r}")
    holds = math.isclose(now, then, rel_tol=0.0, abs_tol=EVALUATION_TOLERANCE)
    what = f"validation at step {step} gives {now!r}, the curve has {then!r}; another machine class or instruction set"
    return Check(name, holds, f"{what}, compared within {EVALUATION_TOLERANCE:g}")


def _mlflow(run: Run, tracker: Tracker, records: Sequence[Record]) -> Check:
    """Check that MLflow has every point of the journal exactly once, with the same time, and no others."""
    wanted = Counter(journal_points(records, read_job(run.folder)))
    try:
        found = tracker.stored_points(run, sorted({point.key for point in wanted}))
    except StoreError as error:
        return Check("MLflow", False, str(error))
    if found is None:
        return Check("MLflow", True, "not checked while offline")
    if run.mlflow_id is None:
        return Check("MLflow", True, f"the run is not there yet; `minigpt sync {run.short_id}` sends it")
    stored = Counter(found)
    missing, extra = (wanted - stored).total(), (stored - wanted).total()
    if missing or extra:
        way_out = f"; `minigpt sync {run.short_id}` sends what is missing" if missing else ""
        if run.result() is None:
            way_out += f"; it has not ended: `minigpt resume {run.short_id}` finishes it"
        return Check("MLflow", False, f"{missing} points missing, {extra} too many{way_out}")
    return Check("MLflow", True, f"{wanted.total():,} points, equal to those of the journal")
