"""Measure the models of several runs on one text, which is to be one that none of them has read."""

import json
import logging
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import pandas as pd
import torch

from minigpt import checkpoint, environment
from minigpt.corpus import CorpusConfig, check_text, oddities, read_source
from minigpt.dataset import SplitConfig, boundary, open_tokens
from minigpt.environment import EnvironmentConfig
from minigpt.errors import InputError
from minigpt.overlap import RUN_BYTES, share_of
from minigpt.passages import LEAST_BYTES, Difference, Reading, difference, read_tokens
from minigpt.store import find, sha256_of_file
from minigpt.tokenizer import TOKENIZER
from tasks import tracked
from tasks.comparison import OTHER_TOKENIZERS
from tasks.home import ARRIVING, cache_folder
from tasks.lookup import find_run
from tasks.runs import CORPUS, Run
from tasks.tracking_settings import Tracking
from tasks.weights import checkpoint_of

log = logging.getLogger(__name__)

MAX_BYTES = 10**12
# A model that has read so much of the text is not measured by it.
UNFAIR_SHARE = 0.2


@dataclass(frozen=True)
class Measured:
    """One run's model on the text."""

    run_id: str
    name: str
    checkpoint: str
    steps: int
    tokenizer_sha256: str
    reading: Reading
    read_share: float | None
    """How much of the text stands in the run's training text; None if that is not here."""

    def row(self) -> dict[str, str | float]:
        told = {"run_id": self.run_id, "name": self.name, "checkpoint": self.checkpoint}
        return told | {name: getattr(self.reading, name) for name in ("loss", "perplexity", "bits_per_byte")}


def measure_runs(settings: Tracking, names: list[str], source: Path, role: str, as_json: bool) -> str:
    """A row a run, best first; then what of the differences may be chance, and who has read the text before."""
    environment.apply(EnvironmentConfig().resolved())
    runs = {run.run_id: run for run in (find_run(settings, name) for name in names)}
    checkpoints = {run_id: checkpoint_of(run, role) for run_id, run in runs.items()}  # or an error before the work
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix=ARRIVING) as folder:
        text = Path(folder) / "text"
        read_source(CorpusConfig(source=str(source.absolute()), max_bytes=MAX_BYTES), text)
        _check_length(text, source)
        found = [_measure(run, checkpoints[run_id], text) for run_id, run in runs.items()]
    found.sort(key=lambda measured: measured.reading.bits_per_byte)
    best = found[0].reading
    differences = [difference(best, other.reading, len(found)) for other in found]
    if as_json:
        rows = [
            {**measured.row(), "read_share": measured.read_share, "above_the_best": asdict(more)}
            for measured, more in zip(found, differences, strict=True)
        ]
        return json.dumps(rows)
    table = pd.DataFrame([measured.row() | {"run_id": measured.run_id[:12]} for measured in found])
    shown = table.to_string(index=False, float_format=lambda value: f"{value:.4g}")
    lines = [f"on {source}, {best.text_bytes:,} bytes:", shown, *_words(found, differences)]
    if (most := max(measured.read_share or 0 for measured in found)) >= UNFAIR_SHARE:
        lines.insert(0, f"No fair test: {most:.0%} of this text stands in what a model was trained on; see below.")
    return "\n".join(lines)


def _check_length(text: Path, source: Path) -> None:
    with text.open("rb") as file:
        check_text(file, str(source))
        for oddity in oddities(file):
            log.warning("the text %s %s, which costs a model that has not learnt it", source, oddity)
    if (size_bytes := text.stat().st_size) < LEAST_BYTES:
        raise InputError(
            f"the text {source} has {size_bytes} bytes, fewer than the {LEAST_BYTES:,} on which a difference can be "
            "told from chance; give a longer one"
        )


def _measure(run: Run, folder: Path, text: Path) -> Measured:
    model, tokenizer = checkpoint.load(folder)
    tokens_file, size_bytes = text.with_name("tokens"), text.stat().st_size
    with text.open("rb") as file:
        count = tokenizer.encode_file(file, 0, size_bytes, tokens_file, environment.available_cores())
        log.info("run %s: %s on %s tokens", run.run_id[:12], folder.name, f"{count:,}")
        token_bytes = torch.from_numpy(tokenizer.token_bytes())
        reading = read_tokens(model, open_tokens(tokens_file), token_bytes, size_bytes)
        read_share = _read_share(run, file)
    if not math.isfinite(reading.perplexity):
        raise InputError(
            f"run {run.run_id} at {folder.name} has a loss of {reading.loss} on this text: these weights have "
            "diverged; measure another checkpoint or leave the run out"
        )
    digest = sha256_of_file(folder / TOKENIZER)
    steps = checkpoint.trained_steps(folder)
    return Measured(run.run_id, run.name, folder.name, steps, digest, reading, read_share)


def _read_share(run: Run, text: BinaryIO) -> float | None:
    if (corpus := _corpus(run)) is None:
        return None
    split = SplitConfig.model_validate(
        {name: run.params[f"split.{name}"] for name in ("validation_fraction", "boundary")}, strict=False
    )
    with corpus.open("rb") as file:
        return share_of(text, file, boundary(file, split))


def _corpus(run: Run) -> Path | None:
    """The text that the run was made with: of this home's cache, else what the run kept."""
    sha256 = run.params.get("corpus.sha256", "")
    if entry := find(cache_folder(), "corpus", {"corpus": sha256}):
        return entry.folder / CORPUS
    try:
        kept = tracked.artifact(run, CORPUS)
    except InputError:
        return None
    return kept if sha256_of_file(kept) == sha256 else None


def _words(found: Sequence[Measured], differences: Sequence[Difference]) -> Iterator[str]:
    best = found[0].run_id[:12]
    for measured, more in list(zip(found, differences, strict=True))[1:]:
        yield (
            f"{best} needs {more.bits_per_byte:.2g} bits per byte less than {measured.run_id[:12]}, which "
            f"{'may be' if more.may_be_chance else 'is hardly'} chance: the standard error from passage to passage is "
            f"{more.standard_error:.2g}."
        )
    beaten = [measured.run_id[:12] for measured, more in zip(found, differences, strict=True) if not more.may_be_chance]
    if beaten:
        yield f"By this text {best} is better than {', '.join(beaten)}."
    elif len(found) > 1:
        yield "By this text the best is better than no other beyond chance: keep what you have."
    for measured in found:
        if measured.steps == 0:
            yield f"{measured.checkpoint} of {measured.run_id[:12]} holds untrained weights."
    if len({measured.tokenizer_sha256 for measured in found}) > 1:
        yield OTHER_TOKENIZERS
    for measured in found:
        who = measured.run_id[:12]
        if measured.read_share is None:
            yield f"The text that {who} was trained on is not here: it may have read this one."
        else:
            share = f"{measured.read_share:.1%}" if measured.read_share >= 0.001 else "Less than 0.1%"
            begins = f"{share} of this text stands" if measured.read_share else "Nothing of this text was found"
            yield (
                f"{begins} in the training text of {who}, in runs of {RUN_BYTES} bytes and white space aside"
                f"{': there it shows its memory' if measured.read_share else ''}."
            )
