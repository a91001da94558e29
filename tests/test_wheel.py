"""The wheel: what someone gets who installs minigpt and does not check it out."""

import shutil
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PACKAGES = ("minigpt", "tasks", "flows")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from a copy, for setuptools leaves its own files beside the source."""
    source = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist", "."]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    [path] = (source / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def metadata_file(wheel: zipfile.ZipFile, name: str) -> str:
    [path] = [path for path in wheel.namelist() if path.endswith(f".dist-info/{name}")]
    return wheel.read(path).decode()


def test_it_holds_every_file_of_the_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if ".dist-info/" not in name and ".data/scripts/" not in name}
    files = {path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()}
    assert held == {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    assert {f"{package}/py.typed" for package in PACKAGES} <= held
    assert {"flows/presets/quickstart.yaml", "flows/presets/smoke.yaml", "flows/presets/verdict.yaml"} <= held


def test_its_metadata_name_licence_command_and_dependencies(wheel: zipfile.ZipFile) -> None:
    metadata = message_from_string(metadata_file(wheel, "METADATA"))
    assert metadata["License-Expression"] == "MIT"
    assert metadata_file(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert "torch==2.13.0" in metadata.get_all("Requires-Dist", [])
    [script] = [name for name in wheel.namelist() if ".data/scripts/" in name]
    assert script.endswith("/minigpt")
    assert wheel.read(script).startswith(b"#!python")  # pip puts the interpreter's path there


def test_it_runs_outside_the_checkout(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """Presets are read from the installed package, and no git facts are looked for elsewhere."""
    wheel.extractall(tmp_path / "installed")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'installed')!r})\n"
        "import minigpt, flows.config, tasks.runs.provenance as provenance\n"
        "print(minigpt.__file__, flows.config.presets(), sep='\\n')\n"
        "print(provenance.LOCKFILE.exists(), provenance.code_diff(), len(provenance.code_sha256()))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == [
        str(tmp_path / "installed" / "minigpt" / "__init__.py"),
        "['quickstart', 'smoke', 'verdict']",
        "False None 64",
    ], done.stderr
