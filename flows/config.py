"""One value that describes a run: the flow's parameter, the YAML preset, the MLflow params and the rerun's input."""

import difflib
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError

from minigpt.config import Part
from minigpt.cost.config import CostConfig
from minigpt.data.config import CorpusConfig, SplitConfig, TokenizerConfig
from minigpt.errors import InputError
from minigpt.evaluation.config import EvaluationConfig, HeldOutConfig
from minigpt.generation.config import SamplingConfig
from minigpt.model.config import ModelConfig
from minigpt.runtime.config import EnvironmentConfig
from minigpt.training.config import TrainingConfig
from tasks.credentials import hide, shown, what_is_wrong

# Fields of a pattern in words.
PATTERNS = {
    "name": "give at most 63 letters, digits, - and _, the first a letter or digit",
    "corpus.sha256": "give 64 hexadecimal digits with small letters, or null",
}


class RunConfig(Part):
    """Everything that decides what a run does."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")
    """What the run is called in MLflow and Prefect, with the time behind it."""
    seed: int = Field(123, ge=0, lt=2**32)
    """Where every stream of randomness begins: initialisation, data order, dropout, sampling."""
    corpus: CorpusConfig
    """The text."""
    split: SplitConfig = SplitConfig()
    """Which part of the text trains and which measures."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """How text becomes tokens."""
    model: ModelConfig = ModelConfig()
    """The network."""
    training: TrainingConfig = TrainingConfig()
    """How it learns."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How it is measured meanwhile."""
    held_out: HeldOutConfig = HeldOutConfig()
    """What decides whether it is to be shipped."""
    sampling: SamplingConfig = SamplingConfig()
    """What it writes."""
    environment: EnvironmentConfig = EnvironmentConfig()
    """How its process is started."""
    cost: CostConfig = CostConfig()
    """What an hour of it costs."""

    def resolved(self, corpus_sha256: str, train_windows: int) -> Self:
        """The same with what the machine and the corpus decided written into it, so that a rerun decides the same."""
        corpus = self.corpus.model_copy(update={"sha256": corpus_sha256})
        decided = {
            "model": self.model.resolved(self.training.epochs(train_windows) * self.overlap),
            "training": self.training.resolved(),
            "environment": self.environment.resolved(),
        }
        return self.model_copy(update={"corpus": corpus, **decided})

    @property
    def overlap(self) -> float:
        """In how many training windows each token lies, 1 where some lie in none."""
        length = self.model.context_length
        return length / min(length, self.split.stride_tokens or length)

    def without_secrets(self) -> Self:
        """The same, with what is secret in the corpus's address left in this process's environment."""
        return self.model_copy(update={"corpus": self.corpus.model_copy(update={"source": hide(self.corpus.source)})})

    def flat(self) -> dict[str, Any]:
        """Every field as `section.field`: MLflow's params."""
        return flattened(self.model_dump(mode="json"))

    def to_yaml(self) -> str:
        return _as_yaml(self.model_dump(mode="json"))

    def explained(self) -> str:
        """The same with each field's sentence above it."""
        return "\n".join(_explained(self)) + "\n"


def _as_yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _explained(part: Part, indent: str = "") -> Iterator[str]:
    values, comment = part.model_dump(mode="json"), f"{indent}# "
    for name, field in type(part).model_fields.items():
        sentence = " ".join((field.description or "").split())
        yield from textwrap.wrap(sentence, 110, initial_indent=comment, subsequent_indent=comment)
        if isinstance(inner := getattr(part, name), Part):
            yield f"{indent}{name}:"
            yield from _explained(inner, f"{indent}  ")
        else:
            yield textwrap.indent(_as_yaml({name: values[name]}).rstrip("\n"), indent)


def presets() -> list[str]:
    return sorted(
        Path(file.name).stem for file in resources.files("flows.presets").iterdir() if file.name.endswith("yaml")
    )


def load(preset_or_file: str, overrides: Iterable[str] = ()) -> RunConfig:
    """A preset by name, or the user's YAML file by path, with `field=value` overrides on top."""
    return validated(read(preset_or_file), overrides, preset_or_file)


def read(preset_or_file: str) -> dict[str, Any]:
    if preset_or_file in presets():
        text = resources.files("flows.presets").joinpath(f"{preset_or_file}.yaml").read_text(encoding="utf-8")
    else:
        path = Path(preset_or_file)
        if not path.is_file():
            raise InputError(
                f"{shown(preset_or_file)} is neither a file nor one of the presets {', '.join(presets())}; "
                "give one of them"
            )
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read as UTF-8 text ({error}); give a YAML file") from error
    return parse_yaml(text, preset_or_file)


def check_given_source(config: RunConfig, overrides: Iterable[str]) -> None:
    """Refuse another source than the pinned text's: the cache would have that text, and the run say it was this one."""
    from tasks.corpus import check_given  # which brings Prefect with it

    given = {override.partition("=")[0].strip() for override in overrides}
    if "corpus.source" in given and "corpus.sha256" not in given:
        check_given(config.corpus)


class _EachOnce(yaml.SafeLoader):
    """YAML that refuses a field which is given twice; YAML itself takes the last one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        given = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := [name for name, count in given.items() if count > 1]:
            raise yaml.YAMLError(f"{twice[0]} is given twice from line {node.start_mark.line + 1} on")
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    try:
        values = _EachOnce(text).get_single_data()
    except (yaml.YAMLError, ValueError) as error:  # the latter of a date that there is not
        raise InputError(f"{source} is not plain YAML: {what_is_wrong(error)}") from error
    if not isinstance(values, dict):
        what = "is empty" if values is None else f"holds {type(values).__name__}, not fields with values"
        raise InputError(f"{source} {what}; `minigpt config` prints one that is whole")
    return values


def validated(values: Mapping[str, Any], overrides: Iterable[str], source: str) -> RunConfig:
    """The config of these values with `field=value` overrides on top; one sentence for all that is wrong."""
    merged = dict(values)
    for override in overrides:
        merged = _with_override(merged, override)
    try:
        return RunConfig.model_validate(merged)
    except ValidationError as error:
        problems = "; ".join(_problem(detail) for detail in error.errors())
        raise InputError(f"{source}: {problems}") from error


def _with_override(values: Mapping[str, Any], override: str) -> dict[str, Any]:
    """A copy of the values with one `section.field=value`, the value read as YAML."""
    field, equals, text = override.partition("=")
    path = field.strip().split(".")
    if not equals or not all(path):
        raise InputError(f"--set {shown(override)} is not of the form field=value, such as training.learning_rate=3e-4")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"--set {shown(override)}: the value is not plain YAML; quote it") from error
    if path == ["sampling", "prompt"] and value == text.strip():
        value = text.lstrip()  # YAML leaves out the spaces behind plain words, with which a prompt may end
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
        return f"there is no field {field}{meant}; see `minigpt config` for those that there are"
    if detail["type"] == "model_type":
        return f"{field} is {shown(detail['input'])}, and has fields of its own; see `minigpt config`"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "string_pattern_mismatch":
        message = PATTERNS.get(field, message)
    if detail["type"] == "string_type" and isinstance(detail["input"], bool | int | float | date):
        message += "; quote it, for --set twice: '\"yes\"'"
    if detail["type"] in ("value_error", "missing"):
        return f"{field}: {message}"
    return f"{field} is {shown(detail['input'])}: {message}"


def _meant(field: str) -> list[str]:
    """The field, if any, that someone may have meant: of the same name elsewhere, or written nearly so."""
    names = [name for name in _names(RunConfig) if not field.startswith(f"{name}.")]
    elsewhere = [name for name in names if name.rpartition(".")[2] == field.rpartition(".")[2]]
    return elsewhere[:1] or difflib.get_close_matches(field, names, n=1, cutoff=0.75)


def _names(part: type[Part], prefix: str = "") -> Iterator[str]:
    """Every field as `section.field`, and the sections."""
    for name, field in part.model_fields.items():
        yield f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Part):
            yield from _names(field.annotation, f"{prefix}{name}.")


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields as `section.field`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
