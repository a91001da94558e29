"""Small GPTs in plain functions: text, tokens, windows, model, training loop, evaluation, generation.

These are the public names. Each is imported when it is first used, so `import minigpt` does not load torch. The scripts
in examples/ use them. Names that are only in the modules below may change with any version.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from minigpt.checkpoints.format import load_checkpoint as load_checkpoint
    from minigpt.cost.config import CostConfig as CostConfig
    from minigpt.data.config import CorpusConfig as CorpusConfig
    from minigpt.data.config import SplitConfig as SplitConfig
    from minigpt.data.config import TokenizerConfig as TokenizerConfig
    from minigpt.data.sources import python_topics as python_topics
    from minigpt.data.tokenizer import Tokenizer as Tokenizer
    from minigpt.data.tokenizer import load_tokenizer as load_tokenizer
    from minigpt.data.tokenizer import published_gpt2 as published_gpt2
    from minigpt.data.tokenizer import train_bpe as train_bpe
    from minigpt.data.windows import Windows as Windows
    from minigpt.data.windows import cut_windows as cut_windows
    from minigpt.errors import FailedError as FailedError
    from minigpt.errors import InputError as InputError
    from minigpt.evaluation.config import EvaluationConfig as EvaluationConfig
    from minigpt.evaluation.config import HeldOutConfig as HeldOutConfig
    from minigpt.evaluation.loss import Evaluation as Evaluation
    from minigpt.evaluation.loss import evaluate as evaluate
    from minigpt.generation.config import SamplingConfig as SamplingConfig
    from minigpt.generation.generate import complete_prompt as complete_prompt
    from minigpt.generation.generate import generate as generate
    from minigpt.generation.generate import stream_texts as stream_texts
    from minigpt.generation.prepare import prepare_for_generation as prepare_for_generation
    from minigpt.generation.sampling import Sampler as Sampler
    from minigpt.model.config import ModelConfig as ModelConfig
    from minigpt.model.gpt import GPT as GPT
    from minigpt.model.init import build_model as build_model
    from minigpt.randomness import stream as stream
    from minigpt.recipe import RunConfig as RunConfig
    from minigpt.runtime.config import EnvironmentConfig as EnvironmentConfig
    from minigpt.training.config import TrainingConfig as TrainingConfig
    from minigpt.training.loop import DivergedError as DivergedError
    from minigpt.training.loop import StepMetrics as StepMetrics
    from minigpt.training.loop import train as train
    from minigpt.training.optimizers import make_optimizers as make_optimizers

__all__ = [
    "GPT",
    "CorpusConfig",
    "CostConfig",
    "DivergedError",
    "EnvironmentConfig",
    "Evaluation",
    "EvaluationConfig",
    "FailedError",
    "HeldOutConfig",
    "InputError",
    "ModelConfig",
    "RunConfig",
    "Sampler",
    "SamplingConfig",
    "SplitConfig",
    "StepMetrics",
    "Tokenizer",
    "TokenizerConfig",
    "TrainingConfig",
    "Windows",
    "build_model",
    "complete_prompt",
    "cut_windows",
    "evaluate",
    "generate",
    "load_checkpoint",
    "load_tokenizer",
    "make_optimizers",
    "prepare_for_generation",
    "published_gpt2",
    "python_topics",
    "stream",
    "stream_texts",
    "train",
    "train_bpe",
]

# Where each name is defined; a test holds it against the imports above.
_MODULES = {
    "checkpoints.format": ["load_checkpoint"],
    "cost.config": ["CostConfig"],
    "data.config": ["CorpusConfig", "SplitConfig", "TokenizerConfig"],
    "data.sources": ["python_topics"],
    "data.tokenizer": ["Tokenizer", "load_tokenizer", "published_gpt2", "train_bpe"],
    "data.windows": ["Windows", "cut_windows"],
    "errors": ["FailedError", "InputError"],
    "evaluation.config": ["EvaluationConfig", "HeldOutConfig"],
    "evaluation.loss": ["Evaluation", "evaluate"],
    "generation.config": ["SamplingConfig"],
    "generation.generate": ["complete_prompt", "generate", "stream_texts"],
    "generation.prepare": ["prepare_for_generation"],
    "generation.sampling": ["Sampler"],
    "model.config": ["ModelConfig"],
    "model.gpt": ["GPT"],
    "model.init": ["build_model"],
    "randomness": ["stream"],
    "recipe": ["RunConfig"],
    "runtime.config": ["EnvironmentConfig"],
    "training.config": ["TrainingConfig"],
    "training.loop": ["DivergedError", "StepMetrics", "train"],
    "training.optimizers": ["make_optimizers"],
}
_MODULE_OF = {name: f"minigpt.{module}" for module, names in _MODULES.items() for name in names}

if not typing.TYPE_CHECKING:  # a type checker sees the imports above, and refuses any other name

    def __getattr__(name: str) -> typing.Any:
        """Import the name where it is defined (PEP 562), once."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'minigpt' has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_MODULE_OF[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
