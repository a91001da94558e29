"""What the process that orders a training and the one that does it both know of a run's folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from minigpt.config import Part
from minigpt.data.tokens import Side, open_tokens
from minigpt.errors import InputError, on_one_line
from minigpt.recipe import CONFIG_FILE, RunConfig, read_config

if TYPE_CHECKING:  # it loads torch, which who orders a training needs later
    from minigpt.data.windows import Windows

JOB = "job.json"
CHECKPOINTS = "checkpoints"
JOB_FORMAT: Literal[2] = 2
# What a job of the first format, which had no number, holds of the config; the rest is in config.yaml beside it.
FIRST_FORMAT = ("seed", "model", "training", "split", "evaluation", "sampling", "environment")


class TrainingJob(Part):
    """All that the training process has to know: the run's config, and a path instead of data."""

    format: Literal[2] = JOB_FORMAT
    """Changes with the fields of this class."""
    config: RunConfig
    """With what the machine and the corpus decided."""
    tokens_folder: Path
    """Holds train.bin, val.bin and the tokenizer."""

    def windows(self, side: Side) -> "Windows":
        from minigpt.data.windows import cut_windows

        tokens = open_tokens(self.tokens_folder / f"{side}.bin")
        return cut_windows(tokens, side, self.config.model.context_length, self.config.split)


def read_job(run_folder: Path) -> TrainingJob:
    """The job of a run; InputError if it is damaged or of a newer version of minigpt."""
    path = run_folder / JOB
    try:
        values = json.loads(path.read_bytes())
        written = values.get("format", 1)
        if written == 1:
            values = _of_first_format(values, read_config(run_folder / CONFIG_FILE))
        elif isinstance(written, int) and written > JOB_FORMAT:
            raise InputError(
                f"{path} has format {written}, and this version of minigpt reads formats up to {JOB_FORMAT}; take the "
                "version that made the run"
            )
        return TrainingJob.model_validate(values)
    except (ValueError, LookupError, AttributeError, OSError) as error:
        raise InputError(
            f"{path} cannot be read by this version of minigpt ({on_one_line(error)}); take the version that made the "
            "run, or put the file back from a copy"
        ) from error


def _of_first_format(values: Mapping[str, Any], config: RunConfig) -> dict[str, Any]:
    """Its prices are left out: they are config.yaml's with the cores filled in, as RunConfig.prices has them."""
    sections = {name: values[name] for name in FIRST_FORMAT}
    return {"config": {**config.model_dump(), **sections}, "tokens_folder": values["tokens_folder"]}
