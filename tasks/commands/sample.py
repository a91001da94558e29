"""Generate texts with the model of a tracked run."""

from collections.abc import Iterator

from minigpt.checkpoints.format import load_checkpoint
from minigpt.generation.generate import stream_texts
from minigpt.generation.prepare import prepare_for_generation
from minigpt.generation.sampling import Sampler
from minigpt.randomness import stream
from minigpt.runtime.config import EnvironmentConfig
from minigpt.runtime.environment import apply_environment
from tasks.promotion.weights import checkpoint_of
from tasks.tracking.tracker import Tracker


def sample_texts(
    tracker: Tracker,
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
    """Yield the prompt, then the continuations piece by piece; each item has one string for each sample.

    `role` is the checkpoint, "best" or "last". Raises InputError if the prompt cannot be encoded, before any output.
    """
    apply_environment(EnvironmentConfig().resolved())
    model, tokenizer = load_checkpoint(checkpoint_of(tracker.find(run), role, tracker))
    if samples == 1:
        prepare_for_generation(model)
    draws = [Sampler(temperature, top_k, top_p, stream(seed, "sample", number)) for number in range(samples)]
    pieces = stream_texts(model, tokenizer, prompt, draws, max_new_tokens, stop)
    first = next(pieces)  # an invalid prompt is refused here, before any output
    yield [prompt] * samples
    yield first
    yield from pieces
