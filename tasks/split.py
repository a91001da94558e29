"""The step `train/val split`: cut each side's tokens into windows and digest them."""

import logging
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from minigpt import dataset
from minigpt.dataset import SIDES, SplitConfig, cut_windows, open_tokens
from minigpt.store import produce, sha256_of_file
from minigpt.training import TrainingConfig, check_batch_size
from tasks.home import cache_folder
from tasks.tokenization import Tokens

log = logging.getLogger(__name__)

# xz reads about 2 MB a second at its strongest; a longer validation text is not worth the wait.
XZ_MAX_BYTES = 16_000_000


@dataclass(frozen=True)
class Windows:
    """How many windows each side has, and the digests of their inputs and targets."""

    train_windows: int
    val_windows: int
    digests: dict[str, dict[str, str]]
    xz_bits_per_byte: float | None


@task(name="train/val split", cache_policy=NO_CACHE)
def split_windows(tokens: Tokens, config: SplitConfig, training: TrainingConfig, context_length: int) -> Windows:
    """Cut the windows that training and validation read; nothing spans the two sides."""
    made_from = {
        "tokens": tokens.digest,
        "context_length": context_length,
        "stride_tokens": config.stride_tokens,
        "code": sha256_of_file(Path(str(dataset.__file__))),
    }

    def fill(_: Path) -> dict[str, Any]:
        windows = {
            side: cut_windows(open_tokens(tokens.folder / f"{side}.bin"), side, context_length, config)
            for side in SIDES
        }
        return {
            "counts": {side: len(cut) for side, cut in windows.items()},
            "digests": {side: cut.digests() for side, cut in windows.items()},
            "xz_bits_per_byte": xz_bits_per_byte(tokens.folder / "val.txt"),
        }

    entry = produce(cache_folder(), "windows", made_from, fill)
    counts = entry.facts["counts"]
    check_batch_size(training.batch_size, counts["train"])
    log.info(
        "windows %s: %s to train on, %s to validate, each of %d tokens, %s",
        entry.digest[:12],
        f"{counts['train']:,}",
        f"{counts['val']:,}",
        context_length,
        "reused from the cache" if entry.reused else "new in the cache",
    )
    return Windows(counts["train"], counts["val"], entry.facts["digests"], entry.facts["xz_bits_per_byte"])


def xz_bits_per_byte(text: Path) -> float | None:
    """What `xz -9e` makes of a text: the bar for a model that claims to know the language."""
    size_bytes = text.stat().st_size
    if not 0 < size_bytes <= XZ_MAX_BYTES:
        return None
    return 8 * len(lzma.compress(text.read_bytes(), preset=9 | lzma.PRESET_EXTREME)) / size_bytes
