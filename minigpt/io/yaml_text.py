"""YAML as people write it: read strictly, and errors that repeat none of the text, in which a password may stand."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from minigpt.errors import InputError, on_one_line


class _EachOnce(yaml.SafeLoader):
    """YAML that refuses a field which is given twice; YAML itself takes the last one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        given = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := [name for name, count in given.items() if count > 1]:
            raise yaml.YAMLError(f"{twice[0]} is given twice from line {node.start_mark.line + 1} on")
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """The fields of a YAML text; InputError, which names the source, if it is not plain YAML or has no fields."""
    try:
        values = _EachOnce(text).get_single_data()
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
