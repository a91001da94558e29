"""Let the model of a tracked run write."""

from collections.abc import Iterator

from minigpt import checkpoint, environment
from minigpt.environment import EnvironmentConfig
from minigpt.generation import encode_prompt, generate
from minigpt.randomness import stream
from tasks import tracking
from tasks.lookup import find_run
from tasks.tracking_settings import Tracking


def write(
    settings: Tracking,
    run: str,
    role: str,
    prompt: str,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    seed: int,
) -> Iterator[str]:
    """The prompt, then what the model adds, piece by piece; a character whose bytes are not all there yet waits."""
    environment.apply(EnvironmentConfig().resolved())
    folder = tracking.artifact(find_run(settings, run), f"checkpoints/{role}")
    model, tokenizer = checkpoint.load(folder)
    tokens = encode_prompt(tokenizer, prompt, model.config.context_length)
    shown = tokenizer.decode(tokens)
    yield shown
    generator = stream(seed, "sample")
    for token in generate(model, tokens, max_new_tokens, temperature=temperature, top_k=top_k, generator=generator):
        tokens = [*tokens, token]
        text = tokenizer.decode(tokens)
        if not text.endswith("\ufffd"):
            yield text[len(shown) :]
            shown = text
    yield tokenizer.decode(tokens)[len(shown) :]
