"""Draw the results: a training step, generation, and quality over time."""

import statistics
from pathlib import Path
from typing import Any

PICTURE = Path(__file__).with_name("results.png")
INK, PALE, ACCENT = "#3c4043", "#bdc1c6", "#1a73e8"


def draw(parts: dict[str, Any]) -> None:
    """Draw a panel for each part that has results."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    panels = {"step": draw_step, "generation": draw_generation, "quality": draw_quality}
    known = [name for name in panels if name in parts]
    if not known:
        return
    figure, axes = pyplot.subplots(1, len(known), figsize=(4.2 * len(known), 3.2), squeeze=False)
    for axis, name in zip(axes[0], known, strict=True):
        panels[name](axis, parts[name]["data"])
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=110)
    pyplot.close(figure)


def draw_step(axis: Any, data: dict[str, Any]) -> None:
    medians = {name: statistics.median(s for r in rounds for s in r["seconds"]) for name, rounds in data.items()}
    bars(axis, medians)
    axis.set_title("one training step, 162M parameters, seconds", fontsize=9)


def draw_generation(axis: Any, data: dict[str, Any]) -> None:
    size = data["weight_bytes"]
    medians = {"limit": statistics.median(r["bytes_per_second"] / size for r in data["limit"])}
    for name in ("ours", "transformers", "book"):
        medians[name] = statistics.median(s for r in data[name] for s in r["tokens_per_second"])
    bars(axis, medians)
    axis.set_title("generation, tokens per second", fontsize=9)


def bars(axis: Any, values: dict[str, float]) -> None:
    names = list(values)[::-1]
    colours = [PALE if name.startswith("limit") else ACCENT if name.startswith("ours") else INK for name in names]
    drawn = axis.barh(names, [values[name] for name in names], color=colours)
    axis.bar_label(drawn, fmt="%.2g", fontsize=8, padding=2)
    axis.margins(x=0.15)


def draw_quality(axis: Any, data: dict[str, Any]) -> None:
    for text, style in zip(data, ("-", "--", ":"), strict=True):
        for who, colour in (("baseline", INK), ("ours", ACCENT)):
            _, seconds, bits = zip(*data[text][who]["points"], strict=True)
            axis.plot(seconds, bits, style, color=colour, label=f"{who}, {text}")
    axis.set_ylim(1.4, 4.2)
    axis.set_xlabel("seconds of training", fontsize=8)
    axis.set_title("validation text, bits per byte", fontsize=9)
    axis.legend(fontsize=6, frameon=False)
