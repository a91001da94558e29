"""Compose a config: a preset or a YAML file, with `field=value` overrides on top."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from flows.values import read_value
from minigpt.config import Part
from minigpt.errors import InputError
from minigpt.io.yaml_text import parse_yaml
from minigpt.recipe import RunConfig
from tasks.home.credentials import hide, shown


def presets() -> list[str]:
    """Names of the built-in presets, sorted."""
    return sorted(
        Path(file.name).stem for file in resources.files("flows.presets").iterdir() if file.name.endswith("yaml")
    )


def load_config(preset_or_file: str, overrides: Iterable[str] = ()) -> RunConfig:
    """Load a preset by name or a YAML file by path, with `field=value` overrides on top.

    Raises InputError if neither exists, or if a field or value is invalid.
    """
    return validate_config(read_values(preset_or_file), overrides, preset_or_file)


def read_values(preset_or_file: str) -> dict[str, Any]:
    """The unvalidated values of a preset or of a YAML file. Raises InputError if it cannot be read."""
    if preset_or_file in presets():
        text = resources.files("flows.presets").joinpath(f"{preset_or_file}.yaml").read_text(encoding="utf-8")
    else:
        path = Path(preset_or_file)
        if not path.is_file():
            raise InputError(
                f"{shown(preset_or_file)} is neither a file nor one of the presets {', '.join(presets())}; "
                "give a file or a preset"
            )
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read as UTF-8 text ({error}); give a YAML file") from error
    return parse_yaml(text, preset_or_file)


def check_given_source(config: RunConfig, overrides: Iterable[str]) -> None:
    """Refuse a `corpus.source` override that keeps the pinned digest of another text.

    The cache finds texts by digest: the run would train on the pinned text but record the other source.
    """
    given = {override.partition("=")[0].strip() for override in overrides}
    if "corpus.source" in given and "corpus.sha256" not in given:
        from tasks.steps.corpus import check_given_corpus  # imports Prefect, which should load while its server starts

        check_given_corpus(config.corpus)


def validate_config(values: Mapping[str, Any], overrides: Iterable[str], source: str) -> RunConfig:
    """Validate these values with `field=value` overrides on top.

    Raises InputError with all problems in one sentence; `source` says there where the values come from.
    """
    merged = dict(values)
    for override in overrides:
        merged = _with_override(merged, override)
    try:
        config = RunConfig.model_validate(merged)
    except ValidationError as error:
        problems = "; ".join(_problem(detail) for detail in error.errors())
        raise InputError(f"{source}: {problems}") from error
    return hide_secrets(config)


def hide_secrets(config: RunConfig) -> RunConfig:
    """Move the secrets of the corpus's address to this process's environment; return the config without them."""
    source = hide(config.corpus.source)
    return config.model_copy(update={"corpus": config.corpus.model_copy(update={"source": source})})


def _with_override(values: Mapping[str, Any], override: str) -> dict[str, Any]:
    """Copy the values and set one `section.field=value`; the type of the field decides how the value is read."""
    field, equals, text = override.partition("=")
    path = field.strip().split(".")
    if not equals or not all(path):
        raise InputError(f"--set {shown(override)} is not of the form field=value, such as training.learning_rate=3e-4")
    try:
        value = read_value(text, path, RunConfig)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"--set {shown(override)}: the value is not plain YAML; quote it") from error
    result = dict(values)
    inner = result
    for key in path[:-1]:
        section = inner.get(key) or {}
        if not isinstance(section, Mapping):
            raise InputError(f"--set {shown(override)}: {key} is a value and has no fields; see `minigpt config`")
        inner[key] = dict(section)
        inner = inner[key]
    inner[path[-1]] = value
    return result


def _problem(detail: Any) -> str:
    field = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        meant = "".join(f" (did you mean {name}?)" for name in _meant(field))
        field = field if field.isprintable() and "://" not in field else shown(field)
        return f"there is no field {field}{meant}; see `minigpt config` for all fields"
    if detail["type"] == "model_type":
        return f"{field} is {shown(detail['input'])}, but is a section with fields; see `minigpt config`"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "string_type" and isinstance(detail["input"], bool | int | float | date):
        message += "; quote it"
    if detail["type"] in ("value_error", "missing"):
        return f"{field}: {message}"
    return f"{field} is {shown(detail['input'])}: {message}"


def _meant(field: str) -> list[str]:
    """Suggest up to one field for an unknown one: of the same name in another section, or of a similar spelling."""
    names = [name for name in _names(RunConfig) if not field.startswith(f"{name}.")]
    elsewhere = [name for name in names if name.rpartition(".")[2] == field.rpartition(".")[2]]
    return elsewhere[:1] or difflib.get_close_matches(field, names, n=1, cutoff=0.75)


def _names(part: type[Part], prefix: str = "") -> Iterator[str]:
    """Every section, and every field as `section.field`."""
    for name, field in part.model_fields.items():
        yield f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Part):
            yield from _names(field.annotation, f"{prefix}{name}.")
