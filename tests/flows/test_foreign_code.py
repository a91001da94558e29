"""What lies in the working directory or in PYTHONPATH is never run: not by the command, nor by what it starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.home import process
from tasks.home.process import python_environment
from tests.conftest import ROOT, Workplace

# Of the standard library, of what is installed and of ours; modules and packages.
SHADOWS = ("secrets.py", "httpx.py", "mlflow/__init__.py", "uvicorn.py", "flows/__init__.py", "minigpt.py")
SCRIPT = ROOT / "flows" / "cli" / "minigpt"


def lay_out(folder: Path) -> Path:
    """Modules that leave a file if anyone imports them; its path."""
    found = folder / "was imported"
    for name in SHADOWS:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"open({str(found)!r}, 'a').write({name!r})\n")
    return found


def test_the_command_imports_nothing_from_pythonpath(tmp_path: Path) -> None:
    found = lay_out(tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), "."])}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "config", "smoke"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# Name of the run in MLflow")
    assert not found.exists()


@pytest.mark.slow
def test_no_process_that_is_started_imports_from_the_working_directory(new_workplace: type[Workplace]) -> None:
    """Prefect's server, the training, MLflow's server and its worker."""
    place = new_workplace()
    found = lay_out(place.folder)
    done = place.run("run", "smoke", "--set", "training.max_steps=2", "--set", "training.warmup_steps=1")
    assert done.returncode == 0, done.stderr
    with place.serving("ui", pattern="(?m)^.*Ctrl-C ends both$"):
        pass
    assert not found.exists(), found.read_text()


@pytest.mark.parametrize("module", ["prefect.flow_engine", "minigpt.training"])
def test_a_schedules_process_imports_what_is_installed(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = lay_out(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    where = f"from importlib.util import find_spec; print(find_spec({module!r}).origin)"
    command = [sys.executable, "-c", f"import secrets, httpx, mlflow; {where}"]
    done = subprocess.run(command, cwd=tmp_path, env=python_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stdout
    assert not found.exists()


@pytest.mark.parametrize("package", ["minigpt", "flows"])
def test_a_checkout_that_is_not_installed_runs_its_own_code(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "CODE", tmp_path)
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("print('mine')\n")
    done = subprocess.run(
        [sys.executable, "-c", f"import {package}"], env=python_environment(), capture_output=True, text=True
    )
    assert done.stdout == "mine\n", done.stderr
