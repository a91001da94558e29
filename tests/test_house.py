"""Who may import what: minigpt knows machine learning, tasks know systems, flows know order."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).parent.parent
LIBRARY = {
    "torch",
    "numpy",
    "tiktoken",
    "tiktoken_ext",
    "rustbpe",
    "pydantic",
    "safetensors",
    "httpx",
    "filelock",
    "scipy",
}
SYSTEMS = {"prefect", "minigpt", "tasks", "httpx", "psutil", "filelock", "yaml", "pydantic", "rustbpe"}
ALLOWED = {
    "minigpt": LIBRARY | {"minigpt", "pydoc_data"},
    "tasks": SYSTEMS | {"torch", "tiktoken", "uvicorn", "starlette"},
    "flows": {"prefect", "tasks", "minigpt", "flows", "typer", "yaml", "pydantic", "filelock", "tzlocal"},
}
ONLY_IN = {
    "mlflow": {"tasks/tracking.py", "tasks/tracking_store.py"},
    "pandas": {"tasks/lookup.py", "tasks/comparison.py", "tasks/measuring.py"},
    "matplotlib": {"tasks/report.py"},
}
FILES = sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level names of everything that the file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_keep_to_their_layer(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    allowed = ALLOWED[path.relative_to(ROOT).parts[0]] | {module for module, files in ONLY_IN.items() if name in files}
    assert imported(path) - set(sys.stdlib_module_names) <= allowed


@pytest.mark.parametrize("path", sorted((ROOT / "minigpt").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_neither_prints_nor_reads_the_environment(path: Path) -> None:
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert "print" not in names
    assert not {"environ", "getenv"} & attributes


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


def test_the_wheel_holds_every_package() -> None:
    """setuptools leaves out a top-level package that is called `tasks`, unless it is told to look for it."""
    find = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    packaged = set(find_packages(str(ROOT), include=find["include"]))
    assert packaged == {".".join(path.parent.relative_to(ROOT).parts) for path in FILES}


def test_listing_and_comparing_runs_import_neither_torch_nor_prefect() -> None:
    """Each takes a second or two to import, and a person waits for it."""
    code = "import sys, tasks.comparison; print({'torch', 'prefect'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
