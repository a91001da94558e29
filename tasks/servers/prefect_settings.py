"""Check the user's Prefect settings before Prefect reads them, which fails with a traceback on invalid ones."""

import contextlib
import io
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from minigpt.errors import InputError, on_one_line
from tasks.home.credentials import shown

# Files that Prefect reads in the working directory. They may belong to the user's project and not be about Prefect.
PROJECT_FILES = (".env", "prefect.toml", "pyproject.toml")
WAY_OUT = "Prefect reads its settings from it; correct it, or run in another folder"


def check_prefect_settings(ours: dict[str, str]) -> None:
    """Raise InputError for settings files that cannot be read and values that Prefect refuses.

    `ours` are the variables that this project sets. Prefect, which is slow to import, is imported only if the user has
    set something else.
    """
    places = [place for place, text in _files() if _sets_something(place, text)]
    variables = [name for name, value in os.environ.items() if name.startswith("PREFECT_") and ours.get(name) != value]
    if not places and not variables:
        return
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # Prefect also prints the errors there, on many lines
            from prefect.settings import get_current_settings

            get_current_settings()
    except ValidationError as error:
        wrong = [one for one in error.errors() if one["type"] != "default_factory_not_called"]
        problems = "; ".join(_problem(one, variables, places) for one in wrong or error.errors())
        raise InputError(f"{problems}; correct it, or leave it out") from error
    except Exception as error:
        raise InputError(f"Prefect cannot read its settings ({on_one_line(error)}); correct them") from error


def _files() -> Iterator[tuple[Path, str]]:
    """Yield the settings files that exist, with their text; raise InputError if one is unreadable or invalid TOML."""
    home = Path(os.environ.get("PREFECT_HOME", ""))
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml").expanduser()
    for path in (*map(Path, PROJECT_FILES), profiles):
        if not path.is_file():
            continue
        try:
            text = path.read_bytes().decode()
            if path.suffix == ".toml":
                tomllib.loads(text)
        except UnicodeDecodeError as error:
            wrong = f"byte 0x{error.object[error.start]:02x} is wrong there"
            raise InputError(
                f"{path.resolve()} is not UTF-8 from byte {error.start} on ({wrong}); {WAY_OUT}"
            ) from error
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{path.resolve()} is not valid TOML: {on_one_line(error)}; {WAY_OUT}") from error
        except OSError as error:
            raise InputError(f"{path.resolve()} cannot be read ({error.strerror}); {WAY_OUT}") from error
        yield path, text


def _sets_something(path: Path, text: str) -> bool:
    if path.name == "pyproject.toml":
        return "prefect" in tomllib.loads(text).get("tool", {})
    return path.name != ".env" or "prefect_" in text.lower()


def _problem(wrong: Any, variables: list[str], places: list[Path]) -> str:
    """Describe a value that Prefect refuses; name the variable that holds it, or else the file."""
    field, value = str(wrong["loc"][-1]), wrong["input"]
    named = [name for name in variables if os.environ[name] == str(value)]
    ends = [name for name in named if name.endswith(field.upper())]
    inside = [place for place in places if str(value) in place.read_text(encoding="utf-8")]
    where, *_ = (*ends, *named, *(f"{field} in {place.resolve()}" for place in inside), f"Prefect's setting {field}")
    return f"{where} is {shown(value)}: {wrong['msg']}"
