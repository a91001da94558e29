"""The job of a training process: what the process that starts it writes, and what it reads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from minigpt.config import Part
from minigpt.data.tokens import Side, open_tokens
from minigpt.errors import InputError, on_one_line
from minigpt.recipe import CONFIG_FILE, RunConfig, read_config

if TYPE_CHECKING:  # loads torch, which the starting process does not need yet
    from minigpt.data.windows import Windows

JOB = "job.json"
CHECKPOINTS = "checkpoints"
JOB_FORMAT: Literal[2] = 2
# Sections of the config in a job of format 1, which had no number; config.yaml beside it has the rest.
FIRST_FORMAT = ("seed", "model", "training", "split", "evaluation", "sampling", "environment")


class TrainingJob(Part):
    """Everything that the training process needs: the run's config, and the path of its tokens."""

    format: Literal[2] = JOB_FORMAT
    """Increases when the fields of this class change."""
    config: RunConfig
    """The resolved config, with the values that the machine and the corpus decided."""
    tokens_folder: Path
    """The folder of train.bin, val.bin and the tokenizer."""

    def windows(self, side: Side) -> "Windows":
        from minigpt.data.windows import cut_windows

        tokens = open_tokens(self.tokens_folder / f"{side}.bin")
        return cut_windows(tokens, side, self.config.model.context_length, self.config.split)


def read_job(run_folder: Path) -> TrainingJob:
    """Read the job of a run. Raises InputError if it is damaged, or written by a newer version of minigpt."""
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
    """Complete a job of format 1 from config.yaml. Its prices are dropped, since RunConfig.prices derives them."""
    sections = {name: values[name] for name in FIRST_FORMAT}
    return {"config": {**config.model_dump(), **sections}, "tokens_folder": values["tokens_folder"]}
