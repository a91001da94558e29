"""Where a user's state lies: MINIGPT_HOME, or .minigpt in the working directory."""

import os
from pathlib import Path

# How the names of the cache's folders begin that hold a text while it is brought or measured.
ARRIVING = ".corpus.arriving."


def home() -> Path:
    return Path(os.environ.get("MINIGPT_HOME") or ".minigpt").resolve()


def cache_folder() -> Path:
    return home() / "cache"


def runs_folder() -> Path:
    return home() / "runs"
