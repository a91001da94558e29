"""Token files: little-endian uint16, one file for each side of the split."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

TOKEN_DTYPE = np.dtype("<u2")

SIDES: tuple["Side", "Side"] = ("train", "val")
Side = Literal["train", "val"]


def open_tokens(path: Path) -> NDArray[np.uint16]:
    """Map a token file into memory, read-only, as an array of shape (tokens,)."""
    return np.memmap(path, dtype=TOKEN_DTYPE, mode="r") if path.stat().st_size else np.empty(0, TOKEN_DTYPE)
