"""Measure the model of one run on any text, for `minigpt evaluate` and the step `held-out text`."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from minigpt.checkpoints.folders import trained_steps
from minigpt.checkpoints.format import load_checkpoint
from minigpt.data.config import CorpusConfig
from minigpt.data.files import SourceFiles
from minigpt.data.sources import check_text, oddities, read_source
from minigpt.data.split import split_byte
from minigpt.data.tokenizer import TOKENIZER_FILE
from minigpt.data.tokens import open_tokens
from minigpt.errors import InputError
from minigpt.evaluation.contamination import SHINGLE_BYTES, contained_fraction
from minigpt.evaluation.paired import MIN_TEXT_BYTES, TextLoss, measure_passages
from minigpt.io.store import find_entry, sha256_of_file
from minigpt.recipe import CONFIG_FILE, read_config
from minigpt.runtime.machine import available_cores
from tasks.home.folders import arriving, cache_folder
from tasks.runs.files import CORPUS_FILE
from tasks.runs.ids import HasRunId
from tasks.runs.run import Run
from tasks.tracking.tracker import Tracker

log = logging.getLogger(__name__)

MAX_BYTES = 10**12
# A text of which a model has read this share or more is no fair test.
UNFAIR_SHARE = 0.2


@dataclass(frozen=True)
class Measured(HasRunId):
    """The model of one run, measured on a text."""

    run_id: str
    name: str
    checkpoint: str
    steps: int
    tokenizer_sha256: str
    reading: TextLoss
    read_share: float | None
    """Share of the text that occurs in the run's training text; None if the training text is not here."""

    def row(self) -> dict[str, str | float]:
        """Return the run's row of a table that compares models."""
        identity = {"run_id": self.run_id, "name": self.name, "checkpoint": self.checkpoint}
        return identity | {name: getattr(self.reading, name) for name in ("loss", "perplexity", "bits_per_byte")}

    @property
    def about_reading(self) -> str:
        """A sentence that says how much of the text the model may have memorized."""
        who = self.short_id
        if self.read_share is None:
            return f"The training text of {who} is not here: it may hold this text."
        share = f"{self.read_share:.1%}" if self.read_share >= 0.001 else "Less than 0.1%"
        begins = f"{share} of this text occurs" if self.read_share else "No part of this text was found"
        return (
            f"{begins} in the training text of {who} (matching pieces of {SHINGLE_BYTES} bytes, white space ignored)"
            f"{': the loss there measures memorization' if self.read_share else ''}."
        )


@contextmanager
def copy_of_text(source: Path) -> Iterator[Path]:
    """A checked copy of the text, deleted when the block is left; InputError if no model can be measured on it."""
    with arriving() as folder:
        bring_text(source, folder / "text")
        yield folder / "text"


def bring_text(source: Path, text: Path) -> SourceFiles | None:
    """Write a checked copy of the text to `text`; return the files that it was read from.

    Raises InputError if the source cannot be read, or if the text is too short to measure on.
    """
    files = read_source(CorpusConfig(source=_path(source), max_bytes=MAX_BYTES), text).files
    _check_length(text, source, files)
    return files


def _path(source: Path) -> str:
    """Make the path absolute, so that it never means a named corpus; a ~ is left to the reader of the source."""
    return str(source if str(source).startswith("~") else source.absolute())


def _check_length(text: Path, source: Path, files: SourceFiles | None) -> None:
    with text.open("rb") as file:
        check_text(file, str(source), files)
        for oddity in oddities(file, files):
            log.warning("the text %s %s, which raises the loss of a model that was not trained on it", source, oddity)
    if (size_bytes := text.stat().st_size) < MIN_TEXT_BYTES:
        raise InputError(
            f"the text {source} has {size_bytes} bytes, fewer than the {MIN_TEXT_BYTES:,} that are needed to "
            "distinguish a difference from chance; give a longer text"
        )


def measure_run(run: Run, folder: Path, text: Path, tracker: Tracker) -> Measured:
    """Measure the checkpoint in `folder` on a text of at least MIN_TEXT_BYTES; its tokens are written next to it.

    Raises InputError if the loss is not finite.
    """
    model, tokenizer = load_checkpoint(folder)
    tokens_file, size_bytes = text.with_name("tokens"), text.stat().st_size
    with text.open("rb") as file:
        count = tokenizer.encode_file(file, 0, size_bytes, tokens_file, available_cores())
        log.info("run %s: %s on %s tokens", run.short_id, folder.name, f"{count:,}")
        token_bytes = torch.from_numpy(tokenizer.token_bytes())
        reading = measure_passages(model, open_tokens(tokens_file), token_bytes, size_bytes)
        read_share = _read_share(run, file, tracker)
    if not math.isfinite(reading.perplexity):
        raise InputError(
            f"{folder.name} of run {run.run_id} has a loss of {reading.loss} on this text, so these weights have "
            "diverged; measure another checkpoint or leave out the run"
        )
    digest = sha256_of_file(folder / TOKENIZER_FILE)
    steps = trained_steps(folder)
    return Measured(run.run_id, run.name, folder.name, steps, digest, reading, read_share)


def _read_share(run: Run, text: BinaryIO, tracker: Tracker) -> float | None:
    try:
        config = read_config(tracker.fetch(run, CONFIG_FILE))
        corpus = _corpus(run, config.corpus.sha256, tracker)
    except InputError:
        return None
    with corpus.open("rb") as file:
        return contained_fraction(text, file, split_byte(file, config.split))


def _corpus(run: Run, sha256: str | None, tracker: Tracker) -> Path:
    """Return the run's corpus from this home's cache, else the run's own copy; InputError if neither is intact."""
    if entry := find_entry(cache_folder(), "corpus", {"corpus": sha256}):
        return entry.folder / CORPUS_FILE
    kept = tracker.fetch(run, CORPUS_FILE)
    if sha256_of_file(kept) != sha256:
        raise InputError(f"{kept} is not the text of run {run.run_id}; put that text back from a copy")
    return kept
