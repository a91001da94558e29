"""Text from a model: temperature, top-k, top-p, stop text, batches, and a cache of keys and values."""

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from minigpt.config import Part
from minigpt.errors import InputError
from minigpt.model import GPT, Cache
from minigpt.products import linear
from minigpt.randomness import stream
from minigpt.screening import ScreenedHead
from minigpt.tokenizer import Tokenizer

# Below it logits, divided by the temperature, would leave what float32 tells apart, and at last its range.
LEAST_TEMPERATURE = 1e-6

# So many likeliest tokens are put in order where these may be enough for top-p.
ORDERED_FIRST = (256, 4096)


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
    temperatures: tuple[Annotated[float, Field(ge=0.0, le=100.0)], ...] = Field((0.7, 1.0, 1.4), max_length=8)
    """Rows of the last table; 0 is greedy."""
    top_ks: tuple[Annotated[int, Field(ge=1)] | None, ...] = Field((None, 5, 40), max_length=8)
    """Columns of the last table: how many of the likeliest tokens may be drawn; null for all."""

    def draws(self, seed: int) -> list["Draw"]:
        """The cells of the last table, row by row, each with a stream of randomness of its own."""
        return [
            Draw(temperature, top_k, generator=stream(seed, f"sampling {temperature} {top_k}"))
            for temperature in self.temperatures
            for top_k in self.top_ks
        ]


@dataclass(frozen=True)
class Draw:
    """How the next token is chosen."""

    temperature: float = 0.0
    """Logits are divided by it; 0, or less than 1e-6, takes the likeliest token."""
    top_k: int | None = None
    """Draw from so many likeliest tokens alone."""
    top_p: float | None = None
    """Draw from the fewest likeliest tokens that together have this probability (Holtzman et al. 2020)."""
    generator: torch.Generator | None = None
    """Where the randomness comes from; null for torch's global one."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax of logits (V,) / temperature, 0 for what may not be drawn."""
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k).values[-1]
            above, equal = logits > least, logits == least
            first = equal & (equal.cumsum(-1) <= self.top_k - above.sum())  # as argmax takes of equal logits
            logits = logits.masked_fill(~(above | first), -torch.inf)
        shares = (logits / self.temperature).softmax(-1)
        if self.top_p is None:
            return shares
        kept = torch.zeros_like(shares)
        tokens = nucleus(logits, shares, self.top_p)
        kept[tokens] = shares[tokens]
        return kept / kept.sum(-1, keepdim=True)

    @property
    def greedy(self) -> bool:
        return self.temperature < LEAST_TEMPERATURE

    def choose(self, logits: Tensor) -> int:
        """One token by logits (V,)."""
        if self.greedy:
            return int(logits.argmax())
        return int(torch.multinomial(self.probabilities(logits), 1, generator=self.generator))

    def choose_by(self, head: ScreenedHead, x: Tensor) -> int:
        """The same token, by what comes before the logits, x (1, C), and as little of the head as is enough."""
        wanted = 1 if self.greedy else self.top_k
        if wanted is not None:
            return self.choose(head.greatest(x, wanted))
        if self.top_p is not None:
            return self.choose(head(x)[0])
        # torch.multinomial takes the greatest probability over a number that it draws from the exponential
        # distribution; the same numbers, drawn before it, tell in logarithms which tokens that can be.
        generator = self.generator or torch.default_generator
        state = generator.get_state()
        noise = torch.empty(head.screen.tokens).exponential_(generator=generator).log_().mul_(-self.temperature)
        generator.set_state(state)
        return self.choose(head.greatest(x, 1, noise))


def nucleus(logits: Tensor, shares: Tensor, enough: float) -> Tensor:
    """The fewest likeliest tokens whose shares (V,) together are `enough`, the first of equally likely ones.

    They are looked for among the likeliest first: 1.0 to 2.1 instead of 4.8 ms where up to 4,096 of 50,257 are enough,
    as in a trained model, and 6 where they are not.
    """
    fewer = [count for count in ORDERED_FIRST if count < len(logits)]
    for count in (*fewer, len(logits)):
        tokens = torch.arange(len(logits))
        if count < len(logits):  # of NaN there are none
            tokens = ((logits >= logits.topk(count).values[-1]) & (shares > 0)).nonzero().flatten()
        order = tokens[logits[tokens].argsort(descending=True, stable=True)]  # shares can round to equal ones
        ordered = shares[order]
        spare = ordered.cumsum(-1) - ordered >= enough  # the likelier ones are enough without it
        if spare[-1:].any() or len(tokens) == shares.count_nonzero():
            break
    spare[:1] = False
    return order[~spare]


def next_tokens(head: Callable[[Tensor], Tensor], x: Tensor, draws: Sequence[Draw]) -> list[int]:
    """A token for each draw by what comes before the logits, x (B, C)."""
    if isinstance(head, ScreenedHead) and len(draws) == 1:
        return [draws[0].choose_by(head, x)]
    return [draw.choose(logits) for draw, logits in zip(draws, linear(head, x), strict=True)]


@torch.inference_mode()
def generate(
    model: GPT, prompts: Sequence[Sequence[int]], draws: Sequence[Draw], max_new_tokens: int
) -> Iterator[list[int]]:
    """The next token of each prompt, again and again; the prompts are of one length, each with a draw of its own.

    Past the context's end the model sees the last context_length tokens, each at a new position, so that nothing
    cached holds and every token costs a pass over all of them.
    """
    context_length = model.config.context_length
    tokens = torch.tensor(prompts)  # (B, T)
    cache = Cache(model.config, batch_size=len(tokens))
    for _ in range(max_new_tokens):
        if tokens.shape[1] > context_length:
            cache.length = 0
        unseen = tokens[:, -context_length:][:, cache.length :]
        new = next_tokens(model.head, model.hidden(unseen, cache=cache)[:, -1], draws)
        yield new
        tokens = torch.cat([tokens, torch.tensor(new)[:, None]], dim=1)


class Continuation:
    """A text that grows by tokens and ends before its stop text; what is given out is never taken back."""

    def __init__(self, tokenizer: Tokenizer, stop: str | None) -> None:
        self.tokenizer, self.stop = tokenizer, stop
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.held = ""
        """Decoded and not given out: it may be the beginning of the stop text."""
        self.stopped = False

    def add(self, token: int) -> str:
        """What the token lets be seen: a character whose bytes are not all there waits."""
        if self.stopped:
            return ""
        self.held += self.decoder.decode(self.tokenizer.encoding.decode_single_token_bytes(token))
        shown, found, _ = self.held.partition(self.stop) if self.stop else (self.held, "", "")
        self.stopped = bool(found)
        if self.stop and not found:
            begun = next(n for n in range(len(self.stop) - 1, -1, -1) if shown.endswith(self.stop[:n]))
            shown = shown[: len(shown) - begun]
        self.held = self.held[len(shown) :]
        return shown

    def end(self) -> str:
        """What was still held back when there are no more tokens."""
        return "" if self.stopped else self.held + self.decoder.decode(b"", final=True)


def write(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    draws: Sequence[Draw],
    max_new_tokens: int,
    stop: str | None = None,
) -> Iterator[list[str]]:
    """What goes on from the prompt, one text for each draw and a piece of each at a time, until all have stopped."""
    start = encode_prompt(tokenizer, prompt, model.config.context_length)
    texts = [Continuation(tokenizer, stop) for _ in draws]
    for new in generate(model, [start] * len(draws), draws, max_new_tokens):
        yield [text.add(token) for text, token in zip(texts, new, strict=True)]
        if all(text.stopped for text in texts):
            return
    yield [text.end() for text in texts]


def complete(
    model: GPT, tokenizer: Tokenizer, prompt: str, draws: Sequence[Draw], max_new_tokens: int, stop: str | None = None
) -> list[str]:
    """The prompt with what the model adds, once for each draw."""
    pieces = list(write(model, tokenizer, prompt, draws, max_new_tokens, stop))
    return [prompt + "".join(text) for text in zip(*pieces, strict=True)]


def encode_prompt(tokenizer: Tokenizer, prompt: str, context_length: int) -> list[int]:
    """The prompt's tokens; an empty one, or one that the context cannot hold, is refused."""
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the prompt {prompt[:40]!r} is not UTF-8; give text that is") from error
    tokens: list[int] = tokenizer.encode(prompt).tolist()
    if not 1 <= len(tokens) <= context_length:
        raise InputError(
            f"the prompt has {len(tokens)} tokens, and the context holds 1 to {context_length}; "
            f"{'shorten it' if tokens else 'give at least one character'}"
        )
    return tokens
