"""Where a user's state lies: MINIGPT_HOME, or .minigpt in the working directory."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minigpt.errors import InputError

# How the names of the cache's folders begin that hold a text while it is brought or measured.
ARRIVING = ".corpus.arriving."


def home() -> Path:
    return expanded(os.environ.get("MINIGPT_HOME") or ".minigpt", "MINIGPT_HOME").resolve()


def expanded(path: str, variable: str) -> Path:
    """A path that a variable names, its ~ expanded, which is left to us where no shell reads the variable."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{variable} is {path!r}, and that user has no home here; give the whole path") from error


def make_folder(folder: Path) -> None:
    """One of the home's; InputError where none can be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the home {home()} cannot be made or written ({error.strerror}); set MINIGPT_HOME to a folder that can be"
        ) from error


def cache_folder() -> Path:
    return home() / "cache"


@contextmanager
def arriving() -> Iterator[Path]:
    """A folder for a text while it is brought or measured, which is gone afterwards."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix=ARRIVING) as folder:
        yield Path(folder)


def runs_folder() -> Path:
    return home() / "runs"
