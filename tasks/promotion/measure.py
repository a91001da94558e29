"""One run's model on a text of its own, as `minigpt evaluate` and the step `held-out text` measure it."""

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
# A model that has read so much of the text is not measured by it.
UNFAIR_SHARE = 0.2


@dataclass(frozen=True)
class Measured(HasRunId):
    """One run's model on the text."""

    run_id: str
    name: str
    checkpoint: str
    steps: int
    tokenizer_sha256: str
    reading: TextLoss
    read_share: float | None
    """How much of the text stands in the run's training text; None if that is not here."""

    def row(self) -> dict[str, str | float]:
        told = {"run_id": self.run_id, "name": self.name, "checkpoint": self.checkpoint}
        return told | {name: getattr(self.reading, name) for name in ("loss", "perplexity", "bits_per_byte")}

    @property
    def about_reading(self) -> str:
        """How much of the text it may know by heart."""
        who = self.short_id
        if self.read_share is None:
            return f"The text that {who} was trained on is not here: it may have read this one."
        share = f"{self.read_share:.1%}" if self.read_share >= 0.001 else "Less than 0.1%"
        begins = f"{share} of this text stands" if self.read_share else "Nothing of this text was found"
        return (
            f"{begins} in the training text of {who}, in runs of {SHINGLE_BYTES} bytes and white space aside"
            f"{': there it shows its memory' if self.read_share else ''}."
        )


@contextmanager
def copy_of_text(source: Path) -> Iterator[Path]:
    """The text, whole and checked, for as long as it is read; InputError if it is not one to measure models on."""
    with arriving() as folder:
        bring_text(source, folder / "text")
        yield folder / "text"


def bring_text(source: Path, text: Path) -> SourceFiles | None:
    """Write the text there, whole and checked; the result is what it was read from."""
    files = read_source(CorpusConfig(source=_path(source), max_bytes=MAX_BYTES), text).files
    _check_length(text, source, files)
    return files


def _path(source: Path) -> str:
    """Absolute, so that no file is taken for one of the corpora that have a name, and ~USER left to who reads it."""
    return str(source if str(source).startswith("~") else source.absolute())


def _check_length(text: Path, source: Path, files: SourceFiles | None) -> None:
    with text.open("rb") as file:
        check_text(file, str(source), files)
        for oddity in oddities(file, files):
            log.warning("the text %s %s, which costs a model that has not learnt it", source, oddity)
    if (size_bytes := text.stat().st_size) < MIN_TEXT_BYTES:
        raise InputError(
            f"the text {source} has {size_bytes} bytes, fewer than the {MIN_TEXT_BYTES:,} on which a difference can be "
            "told from chance; give a longer one"
        )


def measure_run(run: Run, folder: Path, text: Path, tracker: Tracker) -> Measured:
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
            f"run {run.run_id} at {folder.name} has a loss of {reading.loss} on this text: these weights have "
            "diverged; measure another checkpoint or leave the run out"
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
    """The text that the run was made with: of this home's cache, else what the run kept; InputError without one."""
    if entry := find_entry(cache_folder(), "corpus", {"corpus": sha256}):
        return entry.folder / CORPUS_FILE
    kept = tracker.fetch(run, CORPUS_FILE)
    if sha256_of_file(kept) != sha256:
        raise InputError(f"{kept} is not the text that run {run.run_id} was made with; put that back from a copy")
    return kept
