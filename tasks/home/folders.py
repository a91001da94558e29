"""The home folder, which holds a user's runs, cache and databases: MINIGPT_HOME, or .minigpt by default."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minigpt.errors import InputError

# Prefix of the cache folders that hold a text while it is downloaded or measured.
ARRIVING = ".corpus.arriving."


def home() -> Path:
    """The absolute path of the home; a relative one starts in the working directory."""
    return expanded(os.environ.get("MINIGPT_HOME") or ".minigpt", "MINIGPT_HOME").resolve()


def expanded(path: str, variable: str) -> Path:
    """Expand ~ in a path from a variable, which no shell may have expanded; `variable` names it in the error."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{variable} is {path!r}, and that user has no home here; give the full path") from error


def make_folder(folder: Path) -> None:
    """Create a folder of the home; raise InputError if that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the home {home()} cannot be created or written ({error.strerror}); "
            "set MINIGPT_HOME to a folder that you can write"
        ) from error


def cache_folder() -> Path:
    return home() / "cache"


@contextmanager
def arriving() -> Iterator[Path]:
    """Create a temporary folder in the cache for a text that is downloaded or measured."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix=ARRIVING) as folder:
        yield Path(folder)


def runs_folder() -> Path:
    return home() / "runs"
