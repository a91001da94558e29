"""What the process that orders a training and the one that does it both know of a run's folder."""

from pathlib import Path

from minigpt.config import Part
from minigpt.cost.config import CostConfig
from minigpt.data.config import SplitConfig
from minigpt.data.tokens import Side, open_tokens
from minigpt.data.windows import Windows, cut_windows
from minigpt.errors import InputError, on_one_line
from minigpt.evaluation.config import EvaluationConfig
from minigpt.generation.config import SamplingConfig
from minigpt.model.config import ModelConfig
from minigpt.runtime.config import EnvironmentConfig
from minigpt.training.config import TrainingConfig

JOB = "job.json"
CHECKPOINTS = "checkpoints"


class TrainingJob(Part):
    """All that the training process has to know; paths instead of data."""

    seed: int
    model: ModelConfig
    training: TrainingConfig
    split: SplitConfig
    evaluation: EvaluationConfig
    sampling: SamplingConfig
    environment: EnvironmentConfig
    cost: CostConfig
    tokens_folder: Path
    """Holds train.bin, val.bin and the tokenizer."""

    def windows(self, side: Side) -> Windows:
        return cut_windows(open_tokens(self.tokens_folder / f"{side}.bin"), side, self.model.context_length, self.split)


def read_job(run_folder: Path) -> TrainingJob:
    try:
        return TrainingJob.model_validate_json((run_folder / JOB).read_bytes())
    except (ValueError, OSError) as error:
        raise InputError(
            f"{run_folder / JOB} cannot be read by this version of minigpt ({on_one_line(error)}); take the version "
            "that made the run, or put the file back from a copy"
        ) from error
