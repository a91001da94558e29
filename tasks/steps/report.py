"""The step `report`: write the result, the report and its plots to the run's folder, MLflow and Prefect."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import httpx
from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from minigpt.checkpoints.folders import step_of
from minigpt.data.sources import Corpus
from minigpt.evaluation.contamination import SHINGLE_BYTES
from minigpt.evaluation.diagnosis import diagnose, diagnosis_findings
from minigpt.evaluation.memorization import copy_words, is_memorized
from minigpt.evaluation.perplexity import perplexity
from minigpt.io.journal import JOURNAL, curve_sha256, loss_curve, read_journal
from minigpt.io.records import EvaluationRecord, Record, SampleRecord, StartRecord, StepRecord, of_kind
from minigpt.io.store import write_atomically
from minigpt.training.job import TrainingJob
from minigpt.training.quote import actual_cost
from tasks.reporting.plots import plot_curve
from tasks.reporting.summary import markdown
from tasks.runs.files import REPORT_FILE, RESULT_FILE
from tasks.runs.lease import release_lease
from tasks.runs.result import Cost, FinalSamples, Judgement, Result, Samples, TrainingSample
from tasks.runs.run import CHANGE_TAG, Run
from tasks.steps.evaluation import Evaluated
from tasks.steps.held_out import remember_champion
from tasks.steps.split import SplitWindows
from tasks.steps.tokenization import Tokens
from tasks.steps.training import Trained
from tasks.tracking.tracker import Tracker

log = logging.getLogger(__name__)

# A smaller share of the validation text in the training text is not reported.
MIN_REPORTED_COPIED_SHARE = 0.01


@dataclass(frozen=True)
class StepResults:
    """The results of the steps before this one."""

    corpus: Corpus
    tokens: Tokens
    windows: SplitWindows
    trained: Trained
    evaluated: Evaluated
    samples: FinalSamples
    judgement: Judgement | None
    """None if the config names no held-out text."""


@task(name="report", cache_policy=NO_CACHE, retries=0)
def write_report(run: Run, job: TrainingJob, tracker: Tracker, work: StepResults, flow_run_id: str | None) -> Result:
    """Write the result and the report, send them, and close the run."""
    records = read_journal(run.folder / JOURNAL)
    evaluations = list(of_kind(records, EvaluationRecord))
    result = _result(run, job, work, flow_run_id, records)
    write_atomically(run.folder / REPORT_FILE, markdown(result).encode())
    plot_curve(evaluations, "loss", "nats per token", result, run.folder / "loss.png")
    plot_curve(evaluations, "perplexity", "tokens", result, run.folder / "perplexity.png")
    # Written last: a run with a result needs no resume, and `minigpt sync` may send all its files.
    result.write(run.folder / RESULT_FILE)
    if work.judgement:
        remember_champion(run, work.judgement)
    tracker.finish(run, curve=not work.trained.curve_sent)
    release_lease(run.folder)
    if flow_run_id:
        _show_in_prefect(result)
    return result


def _show_in_prefect(result: Result) -> None:
    about = f"MLflow run {result.run_id}"
    try:
        create_markdown_artifact(markdown(result), key=f"report-{result.run_id}", description=about)
    except httpx.HTTPError as error:
        log.warning("Prefect did not accept the report (%s); it is in %s", error, result.run_dir)


def _result(
    run: Run, job: TrainingJob, work: StepResults, flow_run_id: str | None, records: Sequence[Record]
) -> Result:
    trained, evaluated, samples, windows = work.trained, work.evaluated, work.samples, work.windows
    evaluations = list(of_kind(records, EvaluationRecord))
    found = diagnose(evaluations)
    steps = list(of_kind(records, StepRecord))
    in_training = int(min(windows.val_windows, job.config.evaluation.most_val_windows))
    findings = diagnosis_findings(evaluations, trained.status, step_of(trained.checkpoint))
    words = [finding.sentence for finding in findings]
    words += _other_findings(run, work.tokens, samples)
    if in_training < windows.val_windows and len(evaluations) > 1:
        words.append(
            f"The validation losses in these sentences were measured during training, on the first {in_training:,} of "
            f"{windows.val_windows:,} windows."
        )
    remembers = samples.passages_with_such_a_copy is not None and is_memorized(samples.passages_with_such_a_copy)
    if work.judgement:
        words[:0] = work.judgement.sentences
    kept_from_shipping = [
        found.in_short,
        "memorisation" if remembers else "",
        work.judgement.objection if work.judgement else "",
    ]
    return Result(
        run_id=run.run_id,
        flow_run_id=flow_run_id,
        status=trained.status,
        steps=trained.steps,
        epochs=evaluated.epochs,
        training_seconds=trained.training_seconds,
        tokens_per_second=(steps[-1].tokens_seen if steps else 0) / max(trained.training_seconds, 1e-9),
        train_loss=evaluated.train.loss,
        val_loss=evaluated.val.loss,
        perplexity=perplexity(evaluated.val.loss),
        bits_per_byte=evaluated.val.bits_per_byte,
        xz_bits_per_byte=windows.xz_bits_per_byte,
        xz_after_training_bits_per_byte=windows.xz_after_training_bits_per_byte,
        best_step=found.best_step,
        best_val_loss=found.best_val_loss,
        best_bits_per_byte=next(e.val_bits_per_byte for e in evaluations if e.step == found.best_step),
        val_windows=windows.val_windows,
        val_windows_measured_in_training=in_training,
        held_out=work.judgement,
        val_copied_share=work.tokens.val_copied_share,
        overfitting_since_step=found.overfitting_since_step,
        diagnosis=", ".join(filter(None, dict.fromkeys(kept_from_shipping))),
        parameters=next(of_kind(records, StartRecord)).parameters,
        corpus_sha256=work.corpus.sha256,
        weights_sha256=trained.weights_sha256,
        curve_sha256=curve_sha256(loss_curve(records)),
        cost=Cost(trained.quote, actual_cost(trained.quote, trained.training_seconds, job.config.prices)),
        samples=Samples(
            **vars(samples),
            in_training=tuple(TrainingSample(record.step, record.text) for record in of_kind(records, SampleRecord)),
        ),
        words=words,
        findings=findings,
        run_dir=str(run.folder),
    )


def _other_findings(run: Run, tokens: Tokens, samples: FinalSamples) -> Iterator[str]:
    """Yield sentences about memorization, about contamination, and about what changed since the last run."""
    if samples.longest_copied_tokens is not None and samples.passages_with_such_a_copy is not None:
        yield copy_words(samples.longest_copied_tokens, samples.passages_with_such_a_copy)
    if tokens.val_copied_share and tokens.val_copied_share >= MIN_REPORTED_COPIED_SHARE:
        yield (
            f"{tokens.val_copied_share:.1%} of the validation text occurs in the training text (matching pieces "
            f"of {SHINGLE_BYTES} bytes, white space ignored): memorization may lower the loss there, not on new text."
        )
    if CHANGE_TAG in run.tags:
        yield run.tags[CHANGE_TAG]
