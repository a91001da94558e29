"""Where a user's state lies: MINIGPT_HOME, or .minigpt in the working directory."""

import os
from pathlib import Path


def home() -> Path:
    return Path(os.environ.get("MINIGPT_HOME") or ".minigpt").resolve()


def cache_folder() -> Path:
    return home() / "cache"


def runs_folder() -> Path:
    return home() / "runs"
