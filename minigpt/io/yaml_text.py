"""Strict YAML; error messages never repeat the text, because it may contain a password."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from minigpt.errors import InputError, on_one_line

INT, FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"


class PlainYaml(yaml.SafeLoader):
    """A loader that reads decimal numbers only, and refuses duplicate fields.

    YAML 1.1 reads 010 as 8 and 1:40 as 100, which stay strings here, and silently keeps the last of duplicate fields.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        given = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := [name for name, count in given.items() if count > 1]:
            raise yaml.YAMLError(f"{twice[0]} is given twice from line {node.start_mark.line + 1} on")
        return super().construct_mapping(node, deep)


PlainYaml.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag not in (INT, FLOAT)]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
PlainYaml.add_implicit_resolver(INT, re.compile(r"[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789"))
PlainYaml.add_implicit_resolver(
    FLOAT,
    re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """The fields of a YAML text; InputError, which names `source`, if it is not plain YAML or has no fields."""
    try:
        values = PlainYaml(text).get_single_data()
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date
        raise InputError(f"{source} is not plain YAML: {what_is_wrong(error)}") from error
    if not isinstance(values, dict):
        what = "is empty" if values is None else f"contains {type(values).__name__} instead of fields with values"
        raise InputError(f"{source} {what}; `minigpt config` prints a complete config")
    return values


def format_yaml(values: Mapping[str, Any]) -> str:
    """Format the fields as plain YAML, in their order."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def what_is_wrong(error: Exception) -> str:
    """Describe an error in a YAML text and its place, without repeating the text or its values."""
    if isinstance(error, ValidationError):
        errors = (
            (".".join(map(str, wrong["loc"])), wrong["msg"].removeprefix("Value error, ")) for wrong in error.errors()
        )
        return "; ".join(": ".join(filter(None, each)) for each in errors)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        begun = f"{error.context} from line {error.context_mark.line + 1} on, " if error.context_mark else ""
        return f"{begun}{error.problem} in line {error.problem_mark.line + 1}"
    return on_one_line(error)
