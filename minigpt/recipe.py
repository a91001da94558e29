"""RunConfig, the one value that describes a run: flow parameter, YAML preset, MLflow params and input of a rerun."""

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

# File name of the resolved config in the folder of a run.
CONFIG_FILE = "config.yaml"


class RunConfig(Part):
    """The complete configuration of a run."""

    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"),
        pattern_in_words("give at most 63 letters, digits, - and _, the first a letter or digit"),
    ] = "run"
    """Name of the run in MLflow and Prefect, where the start time is added to it."""
    seed: int = Field(123, ge=0, lt=2**32)
    """Seed of every random stream: initialization, data order, dropout and sampling."""
    corpus: CorpusConfig
    """The text that the model learns from."""
    split: SplitConfig = SplitConfig()
    """Division of the text into training and validation."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """How text becomes tokens: GPT-2's vocabulary, or one that is trained on the training text."""
    model: ModelConfig = ModelConfig()
    """Architecture and size of the network."""
    training: TrainingConfig = TrainingConfig()
    """Optimizer, schedule, batches and limits of the training."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluations during the training."""
    held_out: HeldOutConfig = HeldOutConfig()
    """Held-out text for the comparison with the champion."""
    sampling: SamplingConfig = SamplingConfig()
    """Samples that the model writes during and after the training."""
    environment: EnvironmentConfig = EnvironmentConfig()
    """Environment of the training process."""
    cost: CostConfig = CostConfig()
    """Price of an hour of compute."""

    def resolved(self, corpus_sha256: str, train_windows: int) -> Self:
        """A copy with every value filled in that the machine or the corpus decides, so that a rerun repeats the run."""
        corpus = self.corpus.model_copy(update={"sha256": corpus_sha256})
        decided = {
            "model": self.model.resolved(self.training.epochs(train_windows) * self.overlap),
            "training": self.training.resolved(),
            "environment": self.environment.resolved(),
        }
        return self.model_copy(update={"corpus": corpus, **decided})

    @property
    def overlap(self) -> float:
        """Number of training windows that contain each token; 1 if the stride skips tokens."""
        length = self.model.context_length
        return length / min(length, self.split.stride_tokens or length)

    @property
    def prices(self) -> CostConfig:
        """Price and power for the number of cores that the training uses, from which the bill is computed."""
        return self.cost.resolved(self.environment.threads or 1)

    def flat(self) -> dict[str, Any]:
        """All fields as {`section.field`: value}, for MLflow's params."""
        return flatten(self.model_dump(mode="json"))

    def to_yaml(self) -> str:
        return format_yaml(self.model_dump(mode="json"))

    def explained(self) -> str:
        """The config as YAML, with the description of each field as a comment above it."""
        return "\n".join(_explained(self)) + "\n"


def read_config(path: Path) -> RunConfig:
    """Read the config of a run; InputError if the file is damaged, or if its fields are not those of this version."""
    try:
        return RunConfig.model_validate(parse_yaml(path.read_text(encoding="utf-8"), str(path)))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read by this version of minigpt ({what_is_wrong(error)}); use the version that made "
            "the run, or restore the file from a backup"
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
    """Flatten nested mappings to {`section.field`: value}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
