"""Plots of a run's curves."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from minigpt.evaluation.perplexity import perplexity
from minigpt.io.records import EvaluationRecord
from tasks.runs.result import Result


def plot_curve(evaluations: Sequence[EvaluationRecord], what: str, unit: str, result: Result, path: Path) -> None:
    """Plot the train and validation curves over the steps, mark the best evaluation, and save a PNG.

    `what` is "loss" (nats per token) or "perplexity", which gets a logarithmic axis.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    steps = [record.step for record in evaluations]
    value = perplexity if what == "perplexity" else float
    axes.plot(steps, [value(record.train_loss) for record in evaluations], marker=".", label="training text")
    axes.plot(steps, [value(record.val_loss) for record in evaluations], marker=".", label="validation text")
    best = value(result.best_val_loss)
    axes.axvline(result.best_step, color="grey", linestyle=":", label=f"best: {best:.4g} at step {result.best_step}")
    if what == "perplexity":
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel=f"{what} ({unit})", title=f"{what} of {result.short_id}")
    axes.legend()
    figure.savefig(path, dpi=120, metadata={"Software": ""})
