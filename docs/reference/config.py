"""The page of the configuration, from pydantic."""

from collections.abc import Iterator
from importlib import resources
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from docs.reference.tables import code, table
from flows.config import presets
from minigpt.config import Part
from minigpt.cost.config import ASSUMPTIONS_DATE, HARDWARE
from minigpt.recipe import RunConfig

HEAD = """# Config fields

One value describes a run: `RunConfig`, the type of the flow's parameter. The same fields are the form in Prefect, the
keys of a YAML file, the names after `--set`, and the params in MLflow, there as `section.field`.

A field that a YAML file leaves out has the default of this page, and not the value of a preset. `minigpt config FILE`
prints a config with every field filled in. Unknown fields, NaN and infinities are refused.
"""
BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "min_length": "length >=", "max_length": "length <="}


def config_fields(part: type[Part] = RunConfig, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every field as `section.field`."""
    for name, field in part.model_fields.items():
        if section := _section_of(field):
            yield from config_fields(section, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def page() -> str:
    plain = [(name, field) for name, field in RunConfig.model_fields.items() if not _section_of(field)]
    parts = [HEAD, "## Top level\n", _table(plain)]
    for name, field in RunConfig.model_fields.items():
        if section := _section_of(field):
            parts += [f"## {name}\n", f"{section.__doc__}\n", _table(list(config_fields(section, f"{name}.")))]
    return "\n".join([*parts, *_hardware(), *_presets()])


def _section_of(field: FieldInfo) -> type[Part] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Part) else None


def _table(fields: list[tuple[str, FieldInfo]]) -> str:
    rows = []
    for name, field in fields:
        if not field.description:
            raise ValueError(f"the config field {name} has no sentence")
        rows.append((code(name), _kind(field), _default(field), _bounds(field), field.description))
    return table(("field", "type", "default", "bounds", "meaning"), rows)


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    return code(_as_yaml(field.default))


def _as_yaml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_as_yaml, value))}]"
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def _kind(field: FieldInfo) -> str:
    return _name(field.annotation)


def _name(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if kind in (None, NoneType):
        return "null"
    if origin is Literal:
        return " or ".join(code(str(one)) for one in inner)
    if origin in (Union, UnionType):
        return " or ".join(_name(one) for one in inner)
    if origin is tuple:
        return f"list of ({_name(inner[0])})" if " or " in _name(inner[0]) else f"list of {_name(inner[0])}"
    if hasattr(kind, "__metadata__"):  # Annotated
        return _name(inner[0])
    return {str: "text", int: "integer", float: "number", bool: "true or false"}[kind]


def _bounds(field: FieldInfo) -> str:
    found = []
    for constraint in _constraints(field):
        limits = [(sign, getattr(constraint, name, None)) for name, sign in BOUNDS.items()]
        found += [code(f"{sign} {limit:,}") for sign, limit in limits if limit is not None]
        if pattern := getattr(constraint, "pattern", None):
            found.append(code(pattern))
    return ", ".join(found)


def _constraints(field: FieldInfo) -> Iterator[Any]:
    """Those of the field, and those of a list's items."""
    yield from field.metadata
    kinds = [field.annotation]
    while kinds:
        kind = kinds.pop()
        for one in getattr(kind, "__metadata__", ()):
            yield from getattr(one, "metadata", ())
        kinds += [inner for inner in get_args(kind) if get_origin(kind) is not Literal and inner is not Ellipsis]


def _hardware() -> list[str]:
    rows = [
        (code(name), f"${kind.usd_per_hour:g}", f"{kind.watts:g}", f"{kind.peak_flops_per_second:.3g}", kind.source)
        for name, kind in HARDWARE.items()
    ]
    return [
        "## Hardware\n",
        f"The kinds that `cost.hardware` and `minigpt estimate --hardware` know, as of {ASSUMPTIONS_DATE}.\n",
        table(("hardware", "an hour", "watts", "peak FLOP/s", "source"), rows),
    ]


def _presets() -> Iterator[str]:
    yield "## Presets\n"
    for name in presets():
        text = resources.files("flows.presets").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
        yield f"### {name}\n\n```yaml\n{text}```\n"
