"""The page of the command line, from Typer."""

from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import typer

from docs.reference.tables import code, table
from flows.cli.main import app

HEAD = """# Commands

Every command has `--help`. A *home* is the folder that `MINIGPT_HOME` names; without that variable it is `.minigpt` in
the working directory.

`RUN` is the id of a run, the beginning of its id, its name, the name of its config, or `latest`. A name that several
runs have means the newest of them. A config's name and `latest` mean the newest run that has ended and is no rerun.
"""
NAMES = {str: "TEXT", int: "INTEGER", float: "NUMBER", Path: "PATH"}


def cli_commands() -> dict[str, Any]:
    """Every command by its name."""
    found: dict[str, Any] = getattr(typer.main.get_command(app), "commands")  # noqa: B009  (a group has them)
    return found


def page() -> str:
    overview = table(
        ("command", "what it does"),
        ((f"[`minigpt {name}`](#minigpt-{name})", _first_sentence(command)) for name, command in _sorted()),
    )
    return "\n".join([HEAD, overview, *(_section(name, command) for name, command in _sorted())])


def _sorted() -> list[tuple[str, Any]]:
    return sorted(cli_commands().items())


def _first_sentence(command: Any) -> str:
    return " ".join((command.help or "").split())


def _section(name: str, command: Any) -> str:
    usage = " ".join(["minigpt", name, *(_metavar(one) for one in command.params if _is_argument(one)), "[OPTIONS]"])
    parts = [f"## `minigpt {name}` {{#minigpt-{name}}}", _first_sentence(command), f"```text\n{usage}\n```"]
    for title, wanted in (("argument", True), ("option", False)):
        rows = [list(_row(one)) for one in command.params if _is_argument(one) == wanted and one.name != "help"]
        if rows:
            parts.append(table((title, "default", "meaning"), rows))
    return "\n\n".join(parts) + "\n"


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _metavar(parameter: Any) -> str:
    shown = str(parameter.metavar or parameter.name.upper())
    return shown if parameter.required or shown.startswith("[") else f"[{shown}]"


def _row(parameter: Any) -> Iterator[str]:
    if _is_argument(parameter):
        yield code(_metavar(parameter))
    else:
        given = "" if parameter.is_flag else f" {parameter.metavar or _kind(parameter)}"
        yield ", ".join(code(f"{name}{given}") for name in parameter.opts)
    default = parameter.default() if callable(parameter.default) else parameter.default
    if parameter.required:
        yield "required"
    else:
        yield "" if default in (None, False, [], ()) else code(str(default))
    yield parameter.help or ""


def _kind(parameter: Any) -> str:
    """What to give: its choices, or the kind of value with its bounds."""
    kind = parameter.type_descriptor.annotation
    if get_origin(kind) in (list, Union, UnionType):  # of several values each, and of an optional one the value
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    least, most = parameter.min, parameter.max
    bounds = [f">={least:g}" if least is not None else "", f"<={most:g}" if most is not None else ""]
    return " ".join(filter(None, [NAMES[kind], *bounds]))
