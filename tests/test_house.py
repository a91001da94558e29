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
    "pydantic_core",
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
# The only files or folders that may import a package.
ONLY_IN = {
    "mlflow": {"tasks/tracking"},
    "sqlalchemy": {"tasks/tracking"},
    "pandas": {"tasks/commands"},
    "matplotlib": {"tasks/reporting/plots.py"},
    "yaml": {"minigpt/io/yaml_text.py"},
}
# The rooms of a package from the top down: a room imports from itself and from lower rows, never from another room of
# its own row. Configuration is below all rooms: minigpt/recipe.py composes the config.py of each room into one value,
# and a room that gets the complete value (a training job, a checkpoint) may name its type. Configuration is data and
# does not import torch; a test below checks that.
ROWS = {
    "minigpt": [
        ["training"],
        ["generation", "evaluation", "checkpoints"],
        ["data"],
        ["recipe"],
        ["model", "runtime", "io"],
        ["cpu", "cost"],
        ["config", "errors", "randomness"],
    ],
    "tasks": [
        ["steps", "commands"],
        ["promotion"],
        ["tracking", "reporting"],
        ["runs", "servers"],
        ["home"],
    ],
}
LARGEST_FOLDER = 12


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


FILES = sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))


def modules_imported(path: Path) -> set[str]:
    """The full name of every import in the file, also of imports inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def is_in(path: Path, places: set[str]) -> bool:
    name = path.relative_to(ROOT).as_posix()
    return any(name == place or name.startswith(f"{place}/") for place in places)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_files_import_only_what_their_package_may(path: Path) -> None:
    imported = {name.partition(".")[0] for name in modules_imported(path)}
    exceptions = {package for package, places in ONLY_IN.items() if is_in(path, places)}
    allowed = ALLOWED[path.relative_to(ROOT).parts[0]] | exceptions
    assert imported - set(sys.stdlib_module_names) <= allowed


def room_of(module: str) -> str:
    return module.split(".")[1]


def is_configuration(module: str) -> bool:
    """True for minigpt.recipe and for the config.py of a room, also with the name that is imported from it."""
    package, *inside = module.split(".")
    return package == "minigpt" and (inside[0] == "recipe" or inside[1:2] == ["config"])


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.relative_to(ROOT).parts[0] in ROWS],
    ids=relative,
)
def test_rooms_import_only_lower_rooms(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    rows = {room: number for number, row in enumerate(ROWS[package]) for room in row}
    own = path.relative_to(ROOT).with_suffix("").parts[1]
    if own == "__init__":
        return
    for module in modules_imported(path):
        if module.startswith(f"{package}.") and (room := room_of(module)) != own and not is_configuration(module):
            assert rows[room] > rows[own], f"{path.relative_to(ROOT)} imports {module}"


def test_public_names_are_unique() -> None:
    """A unique name identifies its function or class wherever it is read."""
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_":
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=relative)
def test_folders_have_few_files(folder: Path) -> None:
    files = [path for path in FILES if path.parent == folder and path.name != "__init__.py"]
    assert len(files) <= LARGEST_FOLDER


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=relative)
def test_no_file_of_a_flow_shadows_a_standard_module(folder: Path) -> None:
    """Prefect puts the folder of a file entrypoint first on sys.path."""
    if folder.relative_to(ROOT).as_posix() in ("flows", "tasks"):
        assert not {path.stem for path in folder.glob("*.py")} & set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", sorted((ROOT / "minigpt").rglob("*.py")), ids=relative)
def test_the_library_neither_prints_nor_reads_the_environment(path: Path) -> None:
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert "print" not in names
    assert not {"environ", "getenv"} & attributes


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_files_have_at_most_300_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


def test_the_wheel_holds_every_package() -> None:
    """setuptools leaves out a top-level package named `tasks`, unless pyproject.toml lists it."""
    find = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    packaged = set(find_packages(str(ROOT), include=find["include"]))
    assert packaged == {".".join(path.parent.relative_to(ROOT).parts) for path in FILES}


def test_configuration_imports_neither_torch_nor_prefect_nor_mlflow() -> None:
    """Every room, every form and every quick command may therefore import it."""
    code = "import sys, minigpt.recipe; print({'torch', 'prefect', 'mlflow'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_listing_and_comparing_runs_import_neither_torch_nor_prefect() -> None:
    """Both are slow to import, and the user waits for the output."""
    code = "import sys, tasks.commands.compare; print({'torch', 'prefect'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
