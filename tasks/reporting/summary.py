"""The result of a run as text for a person: one line, a summary for the terminal, and a Markdown page."""

import json
import re

from tasks.reporting.units import format_duration, format_usd
from tasks.runs.result import Result


def headline(result: Result) -> str:
    """The result in one line, for a log."""
    held_out = result.held_out
    ship = ""
    if held_out and not held_out.objection:
        ship = f"ship {held_out.checkpoint}" if held_out.to_beat else "there was no champion to beat"
    length = f"{result.steps:,} steps in {format_duration(result.training_seconds)}"
    losses = f"validation loss {result.val_loss:.3f}, {result.bits_per_byte:.3f} bits per byte"
    parts = [f"{losses}, {format_usd(result.cost.actual.usd)}", result.diagnosis, ship]
    return f"run {result.run_id} {result.status} after {length}, " + "; ".join(filter(None, parts))


def summary_lines(result: Result) -> list[str]:
    """The result as lines for the terminal."""
    bar = f", {_bar(result)}" if result.xz_bits_per_byte else ""
    untrained = result.samples.in_training[0].text if result.samples.in_training else ""
    return [
        f"run {result.run_id}: {result.status} after {_length(result)} in {format_duration(result.training_seconds)}",
        f"  loss           train {result.train_loss:.3f}, validation {result.val_loss:.3f} nats per token",
        f"  perplexity     {result.perplexity:.4g}",
        f"  bits per byte  {result.bits_per_byte:.3f}{bar}",
        f"  best           {_best(result)}",
        f"  bill           {_bill(result)}",
        f"  untrained      {_without_repeats(untrained)[:160]!r}",
        f"  trained        {_without_repeats(result.samples.greedy)[:240]!r}",
        *(f"  {sentence}" for sentence in result.words),
        f"  details        {result.run_dir}; `minigpt ui` shows the run in MLflow and Prefect",
    ]


def markdown(result: Result) -> str:
    """The report as a Markdown page."""
    bar = f" ({_bar(result)})" if result.xz_bits_per_byte else ""
    first = result.samples.in_training[0].text if result.samples.in_training else ""
    rows = [
        ("status", f"{result.status} after {_length(result)}"),
        ("training", f"{format_duration(result.training_seconds)}, {result.tokens_per_second:,.0f} tokens/s"),
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
        f"| {sample.temperature:g} | {sample.top_k or 'all'} | {_cell(sample.text)} |"
        for sample in result.samples.table
    )
    return (
        f"# Run {result.run_id}\n\n" + "\n".join(f"- {sentence}" for sentence in result.words) + "\n\n"
        f"| what | value |\n| --- | --- |\n{table}\n\n"
        f"Untrained: {_cell(first)}\n\nTrained: {_cell(result.samples.greedy)}\n\n"
        f"| temperature | top-k | text |\n| --- | --- | --- |\n{samples}\n"
    )


def _length(result: Result) -> str:
    return f"{result.steps:,} steps ({result.epochs:.3g} epochs)"


def _best(result: Result) -> str:
    """The best evaluation during training, which may have measured fewer windows than the final one."""
    losses = f"validation loss {result.best_val_loss:.3f}, {result.best_bits_per_byte:.3f} bits per byte"
    measured, every = result.val_windows_measured_in_training, result.val_windows
    part = f", on the first {measured:,} of {every:,} windows" if measured < every else ""
    return f"{losses}, at step {result.best_step}{part}"


def _bar(result: Result) -> str:
    """The bits per byte that xz needs for the same text, as a reference without a language model."""
    read = result.xz_after_training_bits_per_byte
    return f"xz -9e needs {result.xz_bits_per_byte:.3f}" + (
        f", {read:.3f} after reading the training text" if read else ""
    )


def _without_repeats(text: str) -> str:
    """Shorten a character that repeats 20 times or more, as untrained models write it, to three and a count."""
    return re.sub(r"(?s)([^\s\d])\1{19,}", lambda run: f"{run[1] * 3}… ({len(run[0])} times)", text)


def _cell(text: str) -> str:
    """A text as inline code for a Markdown table cell, escaped so that any content is safe."""
    shown = json.dumps(_without_repeats(text), ensure_ascii=False)[1:-1]
    return "`" + shown.replace("`", "'").replace("|", "\\|") + "`"


def _bill(result: Result) -> str:
    """Cost, energy and CO2, and the error of the quote if the training ran to its planned end."""
    actual = result.cost.actual
    bill = f"{format_usd(actual.usd)}, {actual.kwh:.5f} kWh, {actual.co2_kg:.5f} kg CO2"
    if result.status != "completed":
        return bill
    error = actual.quote_error_fraction
    quoted = format_usd(result.cost.quoted.bill.usd)
    return f"{bill}; the quote of {quoted} was {abs(error):.1%} too {'high' if error > 0 else 'low'}"
