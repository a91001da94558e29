"""Notes about config names, stored in the home as one small JSON file per kind and name."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from minigpt.io.store import write_atomically
from tasks.home.folders import home


def note_file(kind: str, name: str) -> Path:
    return home() / f"{kind}-{name}.json"


def noted_names(kind: str) -> list[str]:
    """The config names that have a note of this kind, sorted."""
    return sorted(path.stem.removeprefix(f"{kind}-") for path in home().glob(f"{kind}-*.json"))


def write_note(kind: str, name: str, **fields: Any) -> None:
    write_atomically(note_file(kind, name), json.dumps(fields).encode())


def read_note(kind: str, name: str, **types: Callable[[Any], Any]) -> dict[str, Any] | None:
    """Read the given fields of a note, each converted by its type; None if the note is missing or damaged."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        noted = json.loads(note_file(kind, name).read_bytes())
        return {field: of_type(noted[field]) for field, of_type in types.items()}
    return None
