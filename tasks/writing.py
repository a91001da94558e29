"""Let the model of a tracked run write."""

from collections.abc import Iterator
from pathlib import Path

from minigpt import checkpoint, environment, generation, products
from minigpt.environment import EnvironmentConfig
from minigpt.generation import Draw
from minigpt.job import CHECKPOINTS
from minigpt.randomness import stream
from tasks import tracking
from tasks.lookup import find_run
from tasks.runs import Run
from tasks.tracking_settings import Tracking


def write(
    settings: Tracking,
    run: str,
    role: str,
    prompt: str,
    samples: int,
    *,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    max_new_tokens: int,
    stop: str | None,
    seed: int,
) -> Iterator[list[str]]:
    """The prompt, then what the model adds, piece by piece, as many texts at once as there are samples."""
    environment.apply(EnvironmentConfig().resolved())
    model, tokenizer = checkpoint.load(_checkpoint(find_run(settings, run), role))
    if samples == 1:
        products.store_for_writing(model)
    draws = [Draw(temperature, top_k, top_p, stream(seed, "sample", number)) for number in range(samples)]
    pieces = generation.write(model, tokenizer, prompt, draws, max_new_tokens, stop)
    first = next(pieces)  # a prompt that cannot be is refused before anything is shown
    yield [prompt] * samples
    yield first
    yield from pieces


def _checkpoint(run: Run, role: str) -> Path:
    """Of a run of this home the newest, which a run that has not ended has as well; else the one that MLflow keeps."""
    here = checkpoint.written(run.folder / CHECKPOINTS, role)
    return here[-1] if here else tracking.artifact(run, f"checkpoints/{role}")
