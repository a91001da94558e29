"""What the caller's environment says of terminals and pictures is no reason to fail."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from flows.config import parse_yaml
from tests.conftest import Workplace

TEXT = "Ærøskøbing, 한국어, 🙂 "


def test_a_config_is_written_as_it_is_read(new_workplace: Callable[[], Workplace]) -> None:
    place = new_workplace()
    done = subprocess.run(
        place.command("config", "smoke", "--set", f"sampling.prompt={TEXT}"),
        cwd=place.folder,
        env={**place.environment(), "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert parse_yaml(done.stdout.decode("utf-8"), "mine")["sampling"]["prompt"] == TEXT


@pytest.mark.parametrize("encoding", ["iso-8859-15", "koi8-r"])
def test_what_a_terminal_cannot_show_is_replaced(encoding: str, smoke: dict[str, Any], workplace: Workplace) -> None:
    done = subprocess.run(
        workplace.command("sample", smoke["run_id"], "--prompt", TEXT, "--max-new-tokens", "1"),
        cwd=workplace.folder,
        env={**workplace.environment(), "PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert "???, ? " in done.stdout.decode(encoding)


@pytest.mark.parametrize("backend", ["module://matplotlib_of_a_notebook", "svg"])
def test_a_notebooks_pictures_are_not_ours(backend: str, new_workplace: Callable[[], Workplace]) -> None:
    place = new_workplace()
    code = (
        "import atexit, sys\n"
        "from flows.cli.main import main\n"
        "atexit.register(lambda: print(__import__('matplotlib').get_backend()))\n"
        "sys.argv = ['minigpt', 'config', 'smoke']\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place.folder,
        env={**place.environment(), "MPLBACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("agg\n"), done.stderr
