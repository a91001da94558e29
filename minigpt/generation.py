"""Text from a model: temperature, top-k, and a cache of keys and values."""

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor

from minigpt.config import Part
from minigpt.errors import InputError
from minigpt.model import GPT, Cache
from minigpt.products import linear
from minigpt.tokenizer import Tokenizer


class SamplingConfig(Part):
    """The text that a run writes, to be seen and compared."""

    prompt: str = Field("The ", min_length=1, max_length=10_000)
    """What every sample goes on from."""
    max_new_tokens: int = Field(50, ge=1, le=10_000)
    """Tokens of each sample."""
    last_new_tokens: int = Field(150, ge=1, le=10_000)
    """Tokens of the greedy sample after the last step, long enough to show what was learnt by heart."""
    every_steps: int | None = Field(None, ge=1)
    """Steps from one greedy sample in training to the next; null for none but the first and the last."""
    temperatures: tuple[float, ...] = Field((0.7, 1.0, 1.4), max_length=8)
    """Rows of the last table; 0 is greedy. Each between 0 and 100."""
    top_ks: tuple[int | None, ...] = Field((None, 5, 40), max_length=8)
    """Columns of the last table: how many of the likeliest tokens may be drawn; null for all."""


def probabilities(logits: Tensor, temperature: float, top_k: int | None) -> Tensor:
    """Softmax of logits (..., V) / temperature, all but the top_k likeliest set to 0."""
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    return (logits / temperature).softmax(-1)


def choose(logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator | None) -> Tensor:
    """One token (..., 1) for each row of logits (..., V); the likeliest if the temperature is 0."""
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    return torch.multinomial(probabilities(logits, temperature, top_k), 1, generator=generator)


@torch.inference_mode()
def generate(
    model: GPT,
    prompt: list[int],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[int]:
    """The tokens that follow the prompt, one by one.

    Past the context's end the model sees the last context_length tokens, each at a new position, so that nothing
    cached holds and every token costs a pass over all of them.
    """
    context_length = model.config.context_length
    tokens = list(prompt)
    cache = Cache(model.config, batch_size=1)
    for _ in range(max_new_tokens):
        if len(tokens) > context_length:
            cache.length = 0
        unseen = torch.tensor([tokens[-context_length:][cache.length :]])
        logits = linear(model.head, model.hidden(unseen, cache=cache)[:, -1])  # (1, V)
        tokens.append(int(choose(logits, temperature, top_k, generator)))
        yield tokens[-1]


def complete(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> str:
    """The prompt and the text that the model adds."""
    start = encode_prompt(tokenizer, prompt, model.config.context_length)
    new = generate(model, start, max_new_tokens, temperature=temperature, top_k=top_k, generator=generator)
    return tokenizer.decode(start + list(new))


def encode_prompt(tokenizer: Tokenizer, prompt: str, context_length: int) -> list[int]:
    """The prompt's tokens; an empty one, or one that the context cannot hold, is refused."""
    tokens: list[int] = tokenizer.encode(prompt).tolist()
    if not 1 <= len(tokens) <= context_length:
        raise InputError(
            f"the prompt has {len(tokens)} tokens, and the context holds 1 to {context_length}; "
            f"{'shorten it' if tokens else 'give at least one character'}"
        )
    return tokens
