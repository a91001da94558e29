"""One value that describes a run: the flow's parameter, the YAML preset, the MLflow params and the rerun's input."""

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field

from minigpt.config import Part, pattern_in_words
from minigpt.cost.config import CostConfig
from minigpt.data.config import CorpusConfig, SplitConfig, TokenizerConfig
from minigpt.errors import InputError
from minigpt.evaluation.config import EvaluationConfig, HeldOutConfig
from minigpt.generation.config import SamplingConfig
from minigpt.io.yaml_text import format_yaml, parse_yaml, what_is_wrong
from minigpt.model.config import ModelConfig
from minigpt.runtime.config import EnvironmentConfig
from minigpt.training.config import TrainingConfig

# The config of a run in its folder, with what the machine and the corpus decided.
CONFIG_FILE = "config.yaml"


class RunConfig(Part):
    """Everything that decides what a run does."""

    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"),
        pattern_in_words("give at most 63 letters, digits, - and _, the first a letter or digit"),
    ] = "run"
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

    @property
    def prices(self) -> CostConfig:
        """What the run's bill is made out with: the price and the power of as many cores as train."""
        return self.cost.resolved(self.environment.threads or 1)

    def flat(self) -> dict[str, Any]:
        """Every field as `section.field`: MLflow's params."""
        return flatten(self.model_dump(mode="json"))

    def to_yaml(self) -> str:
        return format_yaml(self.model_dump(mode="json"))

    def explained(self) -> str:
        """The same with each field's sentence above it."""
        return "\n".join(_explained(self)) + "\n"


def read_config(path: Path) -> RunConfig:
    """The config that a run recorded; InputError if the file is damaged, or of a version with other fields."""
    try:
        return RunConfig.model_validate(parse_yaml(path.read_text(encoding="utf-8"), str(path)))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read by this version of minigpt ({what_is_wrong(error)}); take the version that made "
            "the run, or put the file back from a copy"
        ) from error


def _explained(part: Part, indent: str = "") -> Iterator[str]:
    values, comment = part.model_dump(mode="json"), f"{indent}# "
    for name, field in type(part).model_fields.items():
        sentence = " ".join((field.description or "").split())
        yield from textwrap.wrap(sentence, 110, initial_indent=comment, subsequent_indent=comment)
        if isinstance(inner := getattr(part, name), Part):
            yield f"{indent}{name}:"
            yield from _explained(inner, f"{indent}  ")
        else:
            yield textwrap.indent(format_yaml({name: values[name]}).rstrip("\n"), indent)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields as `section.field`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
