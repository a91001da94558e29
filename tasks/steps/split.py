"""The step `train/val split`: cut the tokens of each side into windows, and compute their digests."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from minigpt.data.config import SplitConfig
from minigpt.data.tokenizer import TOKENIZER_FILE, load_tokenizer
from minigpt.data.tokens import SIDES, open_tokens
from minigpt.errors import InputError, SmallCorpusError
from minigpt.evaluation.compression import xz_bits_per_byte
from minigpt.io.source_digest import code_sha256_of
from minigpt.io.store import get_or_make
from minigpt.training.config import TrainingConfig, check_batch_size
from tasks.home.folders import cache_folder
from tasks.steps.tokenization import Tokens

log = logging.getLogger(__name__)

# xz is slow at its strongest level; a longer validation text is not worth the wait.
XZ_MAX_BYTES = 16_000_000
# This baseline compresses the training text twice; a token is about four bytes.
XZ_MAX_TOKENS_READ = 1_000_000
# A warning is logged if full windows cover less than this share of the validation tokens.
MEASURED_SHARE = 0.95


@dataclass(frozen=True)
class SplitWindows:
    """Window counts of both sides, the digests of their inputs and targets, and the xz baselines.

    A baseline is None if the text is too long to compress in reasonable time.
    """

    train_windows: int
    val_windows: int
    digests: dict[str, dict[str, str]]
    xz_bits_per_byte: float | None
    xz_after_training_bits_per_byte: float | None


@task(name="train/val split", cache_policy=NO_CACHE, retries=0)
def split_windows(tokens: Tokens, config: SplitConfig, training: TrainingConfig, context_length: int) -> SplitWindows:
    """Cut the windows that training and validation read; no window spans both sides.

    Raises InputError, with values that fit, if the text is too short for the context length and batch size.
    """
    made_from = {
        "tokens": tokens.digest,
        "context_length": context_length,
        "stride_tokens": config.stride_tokens,
        "code": code_sha256_of(_cut_sides),
    }

    def fill(_: Path) -> dict[str, Any]:
        return _cut_sides(tokens, config, context_length)

    try:
        entry = get_or_make(cache_folder(), "windows", made_from, fill)
        counts = entry.facts["counts"]
        check_batch_size(training.batch_size, counts["train"])
    except SmallCorpusError as error:
        raise InputError(f"{error}{_what_fits(tokens, context_length, training.batch_size)}") from error
    log.info(
        "windows %s: %s to train on, %s to validate, each of %d tokens, %s",
        entry.digest[:12],
        f"{counts['train']:,}",
        f"{counts['val']:,}",
        context_length,
        "reused from the cache" if entry.reused else "new in the cache",
    )
    measured = counts["val"] * context_length
    if measured < MEASURED_SHARE * (tokens.val_tokens - 1):
        log.warning(
            "%s of the %s validation tokens fill complete windows and are measured; a longer text or a shorter "
            "model.context_length leaves out fewer",
            f"{measured:,}",
            f"{tokens.val_tokens:,}",
        )
    return SplitWindows(counts["train"], counts["val"], entry.facts["digests"], *entry.facts["xz"])


def _what_fits(tokens: Tokens, context_length: int, batch_size: int) -> str:
    """The end of an error message: split and model values for which this text is long enough, if any."""
    from minigpt.data.windows import fitting_values  # imports torch, which a run with cached windows needs later

    fitting = fitting_values(tokens.train_tokens + tokens.val_tokens, context_length, batch_size)
    if fitting is None:
        return ""
    fraction, length = fitting
    shorter = f" and model.context_length={length}" if length < context_length else ""
    return f"; this text is long enough with split.validation_fraction={fraction:g}{shorter}"


def _cut_sides(tokens: Tokens, config: SplitConfig, context_length: int) -> dict[str, Any]:
    """Return the counts and digests of each side's windows, and the xz baselines of the validation text."""
    from minigpt.data.windows import cut_windows  # imports torch, which a run with cached windows needs later

    windows = {
        side: cut_windows(open_tokens(tokens.folder / f"{side}.bin"), side, context_length, config) for side in SIDES
    }
    return {
        "counts": {side: len(cut) for side, cut in windows.items()},
        "digests": {side: cut.digests() for side, cut in windows.items()},
        "xz": _xz(tokens),
    }


def _xz(tokens: Tokens) -> tuple[float | None, float | None]:
    """Bits per byte of `xz -9e` on the validation text, alone and after the training text; None if a text is long."""
    path = tokens.folder / "val.txt"
    if not 0 < path.stat().st_size <= XZ_MAX_BYTES:
        return None, None
    text = path.read_bytes()
    alone = xz_bits_per_byte(text)
    if tokens.train_tokens > XZ_MAX_TOKENS_READ:
        return alone, None
    read = (
        load_tokenizer(tokens.folder / TOKENIZER_FILE)
        .decode(open_tokens(tokens.folder / "train.bin").tolist())
        .encode()
    )
    return alone, xz_bits_per_byte(text, read)
