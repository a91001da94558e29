"""The names that `minigpt` exports: each is there, documented and typed, and none costs anything before it is used."""

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import minigpt

LOADED_WHEN_USED = {"torch", "numpy", "tiktoken", "rustbpe", "safetensors", "scipy", "prefect", "mlflow", "pandas"}


def modules_after(code: str) -> set[str]:
    """Top-level packages that a fresh Python has loaded after running the code."""
    report = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code", ["import minigpt", "import minigpt.recipe", "from minigpt import RunConfig, InputError, TrainingConfig"]
)
def test_configuration_is_imported_without_torch(code: str) -> None:
    """So that a command which only reads a config answers at once."""
    assert modules_after(code) & LOADED_WHEN_USED == set()


def test_a_name_that_needs_torch_loads_it() -> None:
    assert "torch" in modules_after("from minigpt import GPT")


@pytest.mark.parametrize("name", minigpt.__all__)
def test_every_exported_name_is_there_and_documented(name: str) -> None:
    value = getattr(minigpt, name)
    assert value.__name__ == name
    assert value.__module__.startswith("minigpt.")
    assert value.__doc__
    assert not value.__doc__.startswith(f"{name}("), "a dataclass without a docstring of its own"


def test_no_other_public_name_is_exported() -> None:
    public = {name for name in dir(minigpt) if not name.startswith("_")}
    assert {name for name in public if not isinstance(getattr(minigpt, name), ModuleType)} == set(minigpt.__all__)
    assert minigpt.__all__ == sorted(set(minigpt.__all__), key=lambda name: (not name.isupper(), name))
    with pytest.raises(AttributeError, match="has no attribute 'save_everything'"):
        _ = minigpt.save_everything  # type: ignore[attr-defined]


def test_type_checkers_see_the_names_where_they_are_defined() -> None:
    """The imports that a type checker reads, and the modules that Python imports from, are written apart."""
    nodes = list(ast.walk(ast.parse(Path(minigpt.__file__).read_text(encoding="utf-8"))))
    typed = {alias.name: node.module for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed == {name: getattr(minigpt, name).__module__ for name in minigpt.__all__}
