"""Measure the models of several runs on one text, which is to be one that none of them has read."""

import json
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch

from minigpt import checkpoint, environment
from minigpt.corpus import CorpusConfig, check_text, read_source
from minigpt.dataset import SplitConfig, boundary, open_tokens
from minigpt.environment import EnvironmentConfig
from minigpt.errors import InputError
from minigpt.passages import LEAST_BYTES, PASSAGES, Difference, Reading, difference, quotes, read_tokens
from tasks import tracking
from tasks.lookup import find_run
from tasks.runs import CORPUS, Run
from tasks.tracking_settings import Tracking
from tasks.weights import checkpoint_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """One run's model on the text."""

    run_id: str
    name: str
    checkpoint: str
    reading: Reading
    read_passages: int | None
    """How many of the text's passages stand in what the run was trained on; None if that was not kept."""

    def row(self) -> dict[str, str | int | float]:
        found = self.reading.evaluation
        numbers = {"loss": found.loss, "perplexity": found.perplexity, "bits_per_byte": found.bits_per_byte}
        return {"run_id": self.run_id, "name": self.name, "checkpoint": self.checkpoint, **numbers}


def measure_runs(settings: Tracking, names: list[str], source: str, role: str, as_json: bool) -> str:
    """A row a run, best first; then what of the differences is chance, and who has read the text before."""
    environment.apply(EnvironmentConfig().resolved())
    runs = {run.run_id: run for run in (find_run(settings, name) for name in names)}
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text"
        read_source(CorpusConfig(source=source), text)
        _check_length(text, source)
        found = [_measure(run, text, role) for run in runs.values()]
        size_bytes = text.stat().st_size
    found.sort(key=lambda measured: measured.reading.evaluation.bits_per_byte)
    differences = [difference(found[0].reading, other.reading) for other in found]
    if as_json:
        rows = [
            measured.row() | {"read_passages": measured.read_passages, "above_the_best": asdict(more)}
            for measured, more in zip(found, differences, strict=True)
        ]
        return json.dumps(rows)
    table = pd.DataFrame([measured.row() | {"run_id": measured.run_id[:12]} for measured in found])
    shown = table.to_string(index=False, float_format=lambda value: f"{value:.4g}")
    return "\n".join([f"on {source}, {size_bytes:,} bytes:", shown, *_words(found, differences)])


def _check_length(text: Path, source: str) -> None:
    with text.open("rb") as file:
        check_text(file, source)
    if (size_bytes := text.stat().st_size) < LEAST_BYTES:
        raise InputError(
            f"the text {source} has {size_bytes} bytes, fewer than the {LEAST_BYTES:,} on which a difference can be "
            "told from chance; give a longer one"
        )


def _measure(run: Run, text: Path, role: str) -> Measured:
    folder = checkpoint_of(run, role)
    model, tokenizer = checkpoint.load(folder)
    tokens_file = text.with_name("tokens")
    with text.open("rb") as file:
        count = tokenizer.encode_file(file, 0, text.stat().st_size, tokens_file, environment.available_cores())
        log.info("run %s: %s tokens to measure %s on", run.run_id[:12], f"{count:,}", folder.name)
        reading = read_tokens(model, open_tokens(tokens_file), torch.from_numpy(tokenizer.token_bytes()))
        return Measured(run.run_id, run.name, folder.name, reading, _read_passages(run, list(quotes(file))))


def _read_passages(run: Run, passages: list[bytes]) -> int | None:
    try:
        corpus = tracking.artifact(run, CORPUS)
    except InputError:
        return None
    split = SplitConfig.model_validate(
        {name: run.params[f"split.{name}"] for name in ("validation_fraction", "boundary")}, strict=False
    )
    with corpus.open("rb") as file:
        end = boundary(file, split)
        file.seek(0)
        trained_on = file.read(end)
    return sum(passage in trained_on for passage in passages)


def _words(found: list[Measured], differences: list[Difference]) -> Iterator[str]:
    best = found[0]
    for measured, more in list(zip(found, differences, strict=True))[1:]:
        told = f"{best.run_id[:12]} needs {more.bits_per_byte:.3f} bits per byte less than {measured.run_id[:12]}"
        error = f"the standard error from passage to passage is {more.standard_error:.3f}"
        verdict = "which may be chance" if more.is_chance else "which is no chance"
        yield f"{told}, {verdict}: {error}."
    for measured in found:
        if measured.read_passages is None:
            yield f"The text that {measured.run_id[:12]} was trained on was not kept: it may have read this one."
        elif measured.read_passages:
            yield (
                f"{measured.run_id[:12]} was trained on {measured.read_passages} of {PASSAGES} passages of this text, "
                "word for word: there it shows its memory."
            )
