"""Text from a model: temperature, top-k, top-p, stop text, batches, and a cache of keys and values."""

import codecs
from collections.abc import Iterator, Sequence

import torch

from minigpt.data.tokenizer import Tokenizer, encode_prompt
from minigpt.generation.sampling import Sampler, next_tokens
from minigpt.model.gpt import GPT, KVCache


@torch.inference_mode()
def generate(
    model: GPT, prompts: Sequence[Sequence[int]], draws: Sequence[Sampler], max_new_tokens: int
) -> Iterator[list[int]]:
    """The next token of each prompt, again and again; the prompts are of one length, each with a draw of its own.

    Past the context's end the model sees the last context_length tokens, each at a new position, so that nothing
    cached holds and every token costs a pass over all of them.
    """
    context_length = model.config.context_length
    tokens = torch.tensor(prompts)  # (B, T)
    cache = KVCache(model.config, batch_size=len(tokens))
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


def stream_texts(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    draws: Sequence[Sampler],
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


def complete_prompt(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    draws: Sequence[Sampler],
    max_new_tokens: int,
    stop: str | None = None,
) -> list[str]:
    """The prompt with what the model adds, once for each draw."""
    pieces = list(stream_texts(model, tokenizer, prompt, draws, max_new_tokens, stop))
    return [prompt + "".join(text) for text in zip(*pieces, strict=True)]
