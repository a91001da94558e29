"""Read the value of `--set FIELD=VALUE`: text as it is given, numbers in decimal, anything else as YAML."""

import re
from contextlib import suppress
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from minigpt.config import Part
from minigpt.io.yaml_text import PlainYaml

QUOTED = re.compile(r"""(?s)'(?:[^']|'')*'|"(?:[^"\\]|\\.)*\"""")


def read_value(text: str, path: list[str], part: type[Part]) -> Any:
    """Read a value for the field that `path` names in `part`; the type of the field decides how.

    The result is not validated. Raises yaml.YAMLError or ValueError if the text is not plain YAML where YAML is read.
    """
    kinds = _kinds(_annotation(path, part))
    if str in kinds:
        return _text(text, type(None) in kinds, keeps_end=path[-1] == "prompt")
    if kinds & {int, float, bool}:
        return _scalar(text.strip())
    return PlainYaml(text).get_single_data()


def _text(text: str, may_be_null: bool, keeps_end: bool) -> str | None:
    """Strip the spaces around a text, but keep those at the end of a prompt; read a quoted text as YAML."""
    bare = text.strip()
    if may_be_null and bare in ("", "~", "null", "Null", "NULL"):
        return None
    if QUOTED.fullmatch(bare):
        return str(PlainYaml(bare).get_single_data())
    return text.lstrip() if keeps_end else bare


def _scalar(text: str) -> Any:
    """A number, boolean or null as in YAML; any other text is returned as it is, for the field to refuse."""
    loader = PlainYaml("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    with suppress(ValueError):  # an impossible date, such as 2025-02-30
        return loader.construct_object(yaml.ScalarNode(tag, text))
    return text


def _annotation(path: list[str], part: type[Part]) -> Any:
    """The type of the field; None if the field does not exist."""
    field = part.model_fields.get(path[0])
    if field is None or len(path) == 1:
        return field and field.annotation
    inner = field.annotation
    return _annotation(path[1:], inner) if isinstance(inner, type) and issubclass(inner, Part) else None


def _kinds(annotation: Any) -> set[Any]:
    """The types that a value of this annotation may have; for a Literal, the types of its values."""
    origin = get_origin(annotation)
    if origin is Literal:
        return {type(value) for value in get_args(annotation)}
    if origin in (Union, UnionType):
        return set().union(*map(_kinds, get_args(annotation)))
    return {annotation}
