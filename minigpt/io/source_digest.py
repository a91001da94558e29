"""A digest of the code that makes a cache entry, for its cache key.

The digest covers every definition that the given functions reach, in any module, without comments, docstrings, log
lines and imports. So the key stays the same if a definition moves or logs more, and changes if its behaviour does.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# Imports are followed inside these packages; other packages are identified by their versions.
PACKAGES = ("minigpt", "tasks", "flows")
LOGGER = "log"


@dataclass(frozen=True)
class _Module:
    """The top-level definitions of a module by name, and the origin of each imported name."""

    definitions: dict[str, list[ast.stmt]]
    imported: dict[str, tuple[str, str | None]]
    """Local name to (module, name in that module), or to (module, None) for an imported module."""


def code_sha256_of(*makers: Callable[..., Any], packages: tuple[str, ...] = PACKAGES) -> str:
    """sha256 of every definition that `makers` reach; ValueError if one is not defined at the top level of a module."""
    wanted = [(maker.__module__, maker.__qualname__) for maker in makers]
    seen: set[tuple[str, str]] = set()
    texts: set[str] = set()
    for module_name, name in wanted:
        if name not in _read(module_name, packages).definitions:
            raise ValueError(f"{module_name}.{name} is not defined at the top level of its module")
    while wanted:
        module_name, name = symbol = wanted.pop()
        if symbol in seen:
            continue
        seen.add(symbol)
        module = _read(module_name, packages)
        if name in module.definitions:
            for statement in module.definitions[name]:
                texts.add(ast.dump(statement))
                wanted += _references(statement, module_name, module, packages)
        elif name in module.imported:  # a name that this module re-exports
            origin, original = module.imported[name]
            if original is not None and origin.partition(".")[0] in packages:
                wanted.append((origin, original))
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()


def _references(
    statement: ast.stmt, module_name: str, module: _Module, packages: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    """Yield (module, name) for each top-level name of these packages that the statement uses."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            origin, original = module.imported.get(node.id, (module_name, node.id))
            if original is not None and origin.partition(".")[0] in packages:
                yield origin, original
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            origin, original = module.imported.get(node.value.id, ("", ""))
            if original is None and origin.partition(".")[0] in packages:
                yield origin, node.attr


@cache
def _read(module_name: str, packages: tuple[str, ...]) -> _Module:
    spec = importlib.util.find_spec(module_name)
    if spec is None or spec.origin is None:
        raise ValueError(f"the source of {module_name} cannot be found")
    tree = _Bare().visit(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    definitions: dict[str, list[ast.stmt]] = {}
    imported: dict[str, tuple[str, str | None]] = {}
    for node in ast.walk(tree):  # includes imports inside functions
        if isinstance(node, ast.ImportFrom) and node.module:
            inside = node.module.partition(".")[0] in packages
            for alias in node.names:
                origin = _origin(node.module, alias.name) if inside else (node.module, alias.name)
                imported[alias.asname or alias.name] = origin
        elif isinstance(node, ast.Import):
            for alias in node.names:
                imported[alias.asname or alias.name] = (alias.name, None)
    for statement in tree.body:
        for name in _defined(statement):
            definitions.setdefault(name, []).append(statement)
    return _Module(definitions, imported)


def _origin(module: str, name: str) -> tuple[str, str | None]:
    """The origin of `from module import name`: a name in the module, or a submodule of the package."""
    found = importlib.util.find_spec(module)
    if found is not None and found.submodule_search_locations is not None:
        submodule = f"{module}.{name}"
        if importlib.util.find_spec(submodule) is not None:
            return submodule, None
    return module, name


def _defined(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    for target in targets:
        yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


class _Bare(ast.NodeTransformer):
    """Remove docstrings and log calls."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text or _logs(node.value) else node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if getattr(node, "body", None) == [] and not isinstance(node, ast.Module):
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node


def _logs(value: ast.expr) -> bool:
    return (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and isinstance(value.func.value, ast.Name)
        and value.func.value.id == LOGGER
    )
