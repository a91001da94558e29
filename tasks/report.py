"""The step `report`: pictures, words, files and the result, in the run's folder, in MLflow and in Prefect."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
from matplotlib.figure import Figure
from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel

from minigpt import diagnosis, journal
from minigpt.checkpoint import step_of
from minigpt.corpus import Corpus
from minigpt.evaluation import perplexity
from minigpt.job import TrainingJob
from minigpt.journal import JOURNAL, Record
from minigpt.store import write_whole
from tasks.evaluation import Evaluated
from tasks.narration import duration
from tasks.ownership import disown
from tasks.pricing import bill_values
from tasks.publishing import publish_if_possible
from tasks.runs import REPORT, RESULT, Run
from tasks.sampling import Samples
from tasks.split import Windows
from tasks.training import Trained

log = logging.getLogger(__name__)


class Result(BaseModel):
    """What `--json` prints: one object about a run that ended."""

    run_id: str
    flow_run_id: str | None
    status: str
    steps: int
    epochs: float
    training_seconds: float
    tokens_per_second: float
    train_loss: float
    val_loss: float
    perplexity: float
    bits_per_byte: float
    xz_bits_per_byte: float | None
    xz_after_training_bits_per_byte: float | None
    best_step: int
    best_val_loss: float
    best_bits_per_byte: float
    val_windows: int
    val_windows_in_training: int
    """So many of them, the first, the evaluations in training measure, of which the best is one."""
    overfitting_since_step: int | None
    diagnosis: str
    """What may keep the last weights from being shipped, in a few words; empty if nothing was found."""
    parameters: int
    corpus_sha256: str
    weights_sha256: str
    curve_sha256: str
    cost: dict[str, Any]
    samples: dict[str, Any]
    words: list[str]
    run_dir: str


@task(name="report", cache_policy=NO_CACHE)
def report(
    run: Run,
    corpus: Corpus,
    windows: Windows,
    trained: Trained,
    evaluated: Evaluated,
    samples: Samples,
    job: TrainingJob,
    flow_run_id: str | None,
) -> Result:
    """Say what happened, in numbers, pictures and words, and close the run."""
    records = journal.read(run.folder / JOURNAL)
    evaluations = list(journal.of_kind(records, "evaluation"))
    result = _result(run, corpus, windows, trained, evaluated, samples, job, flow_run_id, records)
    write_whole(run.folder / REPORT, _markdown(result).encode())
    _plot(evaluations, "loss", "nats per token", result, run.folder / "loss.png")
    _plot(evaluations, "perplexity", "tokens", result, run.folder / "perplexity.png")
    # The last of a run's files: with it the run needs no resume, and `minigpt sync` finds all that it sends.
    write_whole(run.folder / RESULT, result.model_dump_json(indent=1).encode())
    publish_if_possible(run, curve=not trained.curve_sent)
    disown(run.folder)
    if flow_run_id:
        _show_in_prefect(result)
    return result


def _show_in_prefect(result: Result) -> None:
    about = f"MLflow run {result.run_id}"
    try:
        create_markdown_artifact(_markdown(result), key=f"report-{result.run_id}", description=about)
    except httpx.HTTPError as error:
        log.warning("Prefect did not take the report (%s); it is in %s", error, result.run_dir)


def _result(
    run: Run,
    corpus: Corpus,
    windows: Windows,
    trained: Trained,
    evaluated: Evaluated,
    samples: Samples,
    job: TrainingJob,
    flow_run_id: str | None,
    records: Sequence[Record],
) -> Result:
    evaluations = list(journal.of_kind(records, "evaluation"))
    found = diagnosis.diagnose(evaluations)
    steps = list(journal.of_kind(records, "step"))
    words = diagnosis.words(evaluations, trained.status, step_of(trained.checkpoint))
    kept_from_shipping = [found.in_short] if found.in_short else []
    if samples.longest_copied_tokens is not None and samples.longest_copied_tokens >= diagnosis.COPY_TOKENS:
        kept_from_shipping.append("memorisation")
        words.append(
            f"Memorisation: {samples.longest_copied_tokens} tokens in a row of the last greedy sample appear "
            "word for word in the training text."
        )
    return Result(
        run_id=run.run_id,
        flow_run_id=flow_run_id,
        status=trained.status,
        steps=trained.steps,
        epochs=evaluated.epochs,
        training_seconds=trained.training_seconds,
        tokens_per_second=(steps[-1]["tokens_seen"] if steps else 0) / max(trained.training_seconds, 1e-9),
        train_loss=evaluated.train.loss,
        val_loss=evaluated.val.loss,
        perplexity=perplexity(evaluated.val.loss),
        bits_per_byte=evaluated.val.bits_per_byte,
        xz_bits_per_byte=windows.xz_bits_per_byte,
        xz_after_training_bits_per_byte=windows.xz_after_training_bits_per_byte,
        best_step=found.best_step,
        best_val_loss=found.best_val_loss,
        best_bits_per_byte=next(e["val_bits_per_byte"] for e in evaluations if e["step"] == found.best_step),
        val_windows=windows.val_windows,
        val_windows_in_training=int(min(windows.val_windows, job.evaluation.most_val_windows)),
        overfitting_since_step=found.overfitting_since_step,
        diagnosis=", ".join(kept_from_shipping),
        parameters=next(journal.of_kind(records, "start"))["parameters"],
        corpus_sha256=corpus.sha256,
        weights_sha256=trained.weights_sha256,
        curve_sha256=journal.curve_sha256(journal.curve(records)),
        cost={
            "quoted": asdict(trained.quote),
            "actual": bill_values(trained.quote, trained.training_seconds, job.cost),
        },
        samples={
            "in_training": [{k: r[k] for k in ("step", "text")} for r in journal.of_kind(records, "sample")],
            "greedy": samples.greedy,
            "longest_copied_tokens": samples.longest_copied_tokens,
            "table": samples.table,
        },
        words=words,
        run_dir=str(run.folder),
    )


def _plot(evaluations: Sequence[Record], what: str, unit: str, result: Result, path: Path) -> None:
    """Train and validation curve over the steps, the best evaluation marked."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    steps = [record["step"] for record in evaluations]
    value = perplexity if what == "perplexity" else float
    for side, name in (("train", "training text"), ("val", "validation text")):
        axes.plot(steps, [value(record[f"{side}_loss"]) for record in evaluations], marker=".", label=name)
    best = value(result.best_val_loss)
    axes.axvline(result.best_step, color="grey", linestyle=":", label=f"best: {best:.4g} at step {result.best_step}")
    if what == "perplexity":
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel=f"{what} ({unit})", title=f"{what} of {Path(result.run_dir).name[:12]}")
    axes.legend()
    figure.savefig(path, dpi=120, metadata={"Software": ""})


def headline(result: Result) -> str:
    """The result in one line, for a log."""
    return (
        f"run {result.run_id} {result.status} after {result.steps:,} steps in {duration(result.training_seconds)}, "
        f"validation loss {result.val_loss:.3f}, {result.bits_per_byte:.3f} bits per byte, "
        f"${result.cost['actual']['usd']:.4f}" + (f"; {result.diagnosis}" if result.diagnosis else "")
    )


def summary_lines(result: Result) -> list[str]:
    """The result for a person at a terminal."""
    bar = f", {_bar(result)}" if result.xz_bits_per_byte else ""
    untrained = result.samples["in_training"][0]["text"] if result.samples["in_training"] else ""
    return [
        f"run {result.run_id}: {result.status} after {_length(result)} in {duration(result.training_seconds)}",
        f"  loss           train {result.train_loss:.3f}, validation {result.val_loss:.3f} nats per token",
        f"  perplexity     {result.perplexity:.4g}",
        f"  bits per byte  {result.bits_per_byte:.3f}{bar}",
        f"  best           {_best(result)}",
        f"  bill           {_bill(result)}",
        f"  untrained      {untrained[:160]!r}",
        f"  trained        {result.samples['greedy'][:240]!r}",
        *(f"  {sentence}" for sentence in result.words),
        f"  all of it      {result.run_dir}; `minigpt ui` shows it in MLflow and Prefect",
    ]


def _markdown(result: Result) -> str:
    """The report as a page."""
    bar = f" ({_bar(result)})" if result.xz_bits_per_byte else ""
    first = result.samples["in_training"][0]["text"] if result.samples["in_training"] else ""
    rows = [
        ("status", f"{result.status} after {_length(result)}"),
        ("training", f"{duration(result.training_seconds)}, {result.tokens_per_second:,.0f} tokens/s"),
        ("parameters", f"{result.parameters:,}"),
        ("loss, train / validation", f"{result.train_loss:.3f} / {result.val_loss:.3f} nats per token"),
        ("perplexity", f"{result.perplexity:.4g}"),
        ("bits per byte", f"{result.bits_per_byte:.3f}{bar}"),
        ("best", _best(result)),
        ("bill", _bill(result)),
        ("corpus", f"`{result.corpus_sha256[:16]}`"),
        ("weights, curve", f"`{result.weights_sha256[:16]}`, `{result.curve_sha256[:16]}`"),
        ("run", f"`{result.run_id}`"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    samples = "\n".join(
        f"| {sample['temperature']:g} | {sample['top_k'] or 'all'} | {_cell(sample['text'])} |"
        for sample in result.samples["table"]
    )
    return (
        f"# Run {result.run_id}\n\n" + "\n".join(f"- {sentence}" for sentence in result.words) + "\n\n"
        f"| what | value |\n| --- | --- |\n{table}\n\n"
        f"Untrained: {_cell(first)}\n\nTrained: {_cell(result.samples['greedy'])}\n\n"
        f"| temperature | top-k | text |\n| --- | --- | --- |\n{samples}\n"
    )


def _length(result: Result) -> str:
    return f"{result.steps:,} steps ({result.epochs:.3g} epochs)"


def _best(result: Result) -> str:
    """As the evaluations in training measured it, which may be on fewer windows."""
    losses = f"validation loss {result.best_val_loss:.3f}, {result.best_bits_per_byte:.3f} bits per byte"
    measured, every = result.val_windows_in_training, result.val_windows
    part = f", on the first {measured:,} of {every:,} windows" if measured < every else ""
    return f"{losses}, at step {result.best_step}{part}"


def _bar(result: Result) -> str:
    """What a program that knows no language needs for the same text."""
    read = result.xz_after_training_bits_per_byte
    return f"xz -9e needs {result.xz_bits_per_byte:.3f}" + (
        f", {read:.3f} after reading the training text" if read else ""
    )


def _cell(text: str) -> str:
    """A text as code on one line, whatever stands in it."""
    return "`" + json.dumps(text, ensure_ascii=False)[1:-1].replace("`", "'").replace("|", "\\|") + "`"


def _bill(result: Result) -> str:
    """Money, power, carbon dioxide, and how far the quote was off, if the training that it was for took place."""
    actual = result.cost["actual"]
    bill = f"${actual['usd']:.4f}, {actual['kwh']:.5f} kWh, {actual['co2_kg']:.5f} kg CO2"
    if result.status != "completed":
        return bill
    error = actual["quote_error_fraction"]
    return f"{bill}; the quote was {abs(error):.1%} too {'high' if error > 0 else 'low'}"
