"""Measure the models of several runs on one text, which none of them should have been trained on."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from minigpt.data.files import log_files
from minigpt.evaluation.difference import PairedDifference
from minigpt.evaluation.paired import paired_difference
from minigpt.runtime.config import EnvironmentConfig
from minigpt.runtime.environment import apply_environment
from tasks.commands.compare import OTHER_TOKENIZERS
from tasks.home.folders import arriving
from tasks.promotion.measure import UNFAIR_SHARE, Measured, bring_text, measure_run
from tasks.promotion.weights import checkpoint_of
from tasks.tracking.tracker import Tracker


def evaluate_runs(tracker: Tracker, names: list[str], source: Path, role: str, as_json: bool) -> str:
    """Return a table of the runs, best first, then sentences on which differences may be chance and on contamination.

    `role` is "best" or "last". With `as_json` the result is a JSON list, one object for each run. Raises InputError
    if the text or one of the models cannot be measured.
    """
    apply_environment(EnvironmentConfig().resolved())
    runs = {run.run_id: run for run in (tracker.find(name) for name in names)}
    checkpoints = {run_id: checkpoint_of(run, role, tracker) for run_id, run in runs.items()}
    with arriving() as folder:
        log_files(str(source), bring_text(source, text := folder / "text"))
        found = [measure_run(run, checkpoints[run_id], text, tracker) for run_id, run in runs.items()]
    found.sort(key=lambda measured: measured.reading.bits_per_byte)
    best = found[0].reading
    differences = [paired_difference(best, other.reading, len(found)) for other in found]
    if as_json:
        rows = [
            {**measured.row(), "read_share": measured.read_share, "above_the_best": asdict(more)}
            for measured, more in zip(found, differences, strict=True)
        ]
        return json.dumps(rows)
    table = pd.DataFrame([measured.row() | {"run_id": measured.short_id} for measured in found])
    shown = table.to_string(index=False, float_format=lambda value: f"{value:.4g}")
    lines = [f"on {source}, {best.text_bytes:,} bytes:", shown, *_differences(found, differences)]
    if (most := max(measured.read_share or 0 for measured in found)) >= UNFAIR_SHARE:
        lines.insert(0, f"No fair test: {most:.0%} of this text occurs in the training text of a model; see below.")
    else:
        lines += _verdict(found, differences)
    return "\n".join([*lines, *_reservations(found)])


def _differences(found: Sequence[Measured], differences: Sequence[PairedDifference]) -> Iterator[str]:
    best = found[0].short_id
    for measured, more in list(zip(found, differences, strict=True))[1:]:
        yield (
            f"{best} needs {more.bits_per_byte:.2g} bits per byte less than {measured.short_id}, which "
            f"{'may be' if more.may_be_chance else 'is hardly'} chance (standard error {more.standard_error:.2g})."
        )


def _verdict(found: Sequence[Measured], differences: Sequence[PairedDifference]) -> Iterator[str]:
    beaten = [measured.short_id for measured, more in zip(found, differences, strict=True) if not more.may_be_chance]
    if beaten:
        yield f"On this text {found[0].short_id} is better than {', '.join(beaten)}."
    elif len(found) > 1:
        yield "On this text the best run is not better than any other beyond chance: keep the one you have."


def _reservations(found: Sequence[Measured]) -> Iterator[str]:
    for measured in found:
        if measured.steps == 0:
            yield f"{measured.checkpoint} of {measured.short_id} holds untrained weights."
    if len({measured.tokenizer_sha256 for measured in found}) > 1:
        yield OTHER_TOKENIZERS
    yield from (measured.about_reading for measured in found)
