"""Token files: little-endian uint16, one file for each side of the split."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

TOKEN_DTYPE = np.dtype("<u2")

SIDES: tuple["Side", "Side"] = ("train", "val")
Side = Literal["train", "val"]


def open_tokens(path: Path) -> NDArray[np.uint16]:
    """A token file, mapped and not read."""
    return np.memmap(path, dtype=TOKEN_DTYPE, mode="r") if path.stat().st_size else np.empty(0, TOKEN_DTYPE)
