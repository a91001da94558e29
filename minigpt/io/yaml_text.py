"""YAML as people write it: read strictly, and errors that repeat none of the text, in which a password may stand."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from minigpt.errors import InputError, on_one_line

INT, FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"


class PlainYaml(yaml.SafeLoader):
    """YAML whose numbers are decimal, and that refuses a field which is given twice.

    YAML 1.1 itself takes 010 for 8 and 1:40 for 100, which stay text here, and the last of two values without a word.
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
    """The fields of a YAML text; InputError, which names the source, if it is not plain YAML or has no fields."""
    try:
        values = PlainYaml(text).get_single_data()
    except (yaml.YAMLError, ValueError) as error:  # the latter of a date that there is not
        raise InputError(f"{source} is not plain YAML: {what_is_wrong(error)}") from error
    if not isinstance(values, dict):
        what = "is empty" if values is None else f"holds {type(values).__name__}, not fields with values"
        raise InputError(f"{source} {what}; `minigpt config` prints one that is whole")
    return values


def format_yaml(values: Mapping[str, Any]) -> str:
    """The fields in their order, as plain YAML."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def what_is_wrong(error: Exception) -> str:
    """What an error says of a YAML text or its values, and where, without the text or the values."""
    if isinstance(error, ValidationError):
        told = (
            (".".join(map(str, wrong["loc"])), wrong["msg"].removeprefix("Value error, ")) for wrong in error.errors()
        )
        return "; ".join(": ".join(filter(None, each)) for each in told)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        begun = f"{error.context} from line {error.context_mark.line + 1} on, " if error.context_mark else ""
        return f"{begun}{error.problem} in line {error.problem_mark.line + 1}"
    return on_one_line(error)
