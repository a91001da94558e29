"""Values as people write them: YAML whose numbers are decimal, and text that is taken as it is given."""

import re
from contextlib import suppress
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from minigpt.config import Part
from minigpt.io.yaml_text import PlainYaml

QUOTED = re.compile(r"""(?s)'(?:[^']|'')*'|"(?:[^"\\]|\\.)*\"""")


def read_value(text: str, path: list[str], part: type[Part]) -> Any:
    """The value that a person gave for the field of this path: text as it is, numbers as numbers, else as YAML."""
    kinds = _kinds(_annotation(path, part))
    if str in kinds:
        return _text(text, type(None) in kinds, keeps_end=path[-1] == "prompt")
    if kinds & {int, float, bool}:
        return _scalar(text.strip())
    return yaml.load(text, PlainYaml)  # noqa: S506  (a safe one)


def _text(text: str, may_be_null: bool, keeps_end: bool) -> str | None:
    """The text without the spaces around it, of which a prompt keeps those at its end; in quotes as YAML reads it."""
    bare = text.strip()
    if may_be_null and bare in ("", "~", "null", "Null", "NULL"):
        return None
    if QUOTED.fullmatch(bare):
        return str(yaml.load(bare, PlainYaml))  # noqa: S506
    return text.lstrip() if keeps_end else bare


def _scalar(text: str) -> Any:
    """A number, a truth or nothing, as YAML has them; all other text is for the field to refuse."""
    loader = PlainYaml("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    with suppress(ValueError):  # of a date that there is not
        return loader.construct_object(yaml.ScalarNode(tag, text))
    return text


def _annotation(path: list[str], part: type[Part]) -> Any:
    """The type of a field; None of one that there is not."""
    field = part.model_fields.get(path[0])
    if field is None or len(path) == 1:
        return field and field.annotation
    inner = field.annotation
    return _annotation(path[1:], inner) if isinstance(inner, type) and issubclass(inner, Part) else None


def _kinds(annotation: Any) -> set[Any]:
    """The types that a field's value may have; those of a Literal's values."""
    origin = get_origin(annotation)
    if origin is Literal:
        return {type(value) for value in get_args(annotation)}
    if origin in (Union, UnionType):
        return set().union(*map(_kinds, get_args(annotation)))
    return {annotation}
