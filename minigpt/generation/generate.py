"""Text generation with temperature, top-k, top-p, stop text, batches and a KV cache."""

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
    """Yield the next token of every prompt, `max_new_tokens` times.

    The prompts have the same length, and each has its own sampler in `draws`. Once a text is longer than the context,
    the model sees its last context_length tokens, each at a new position. The KV cache is then invalid, and every token
    costs a forward pass over the full context.
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
    """A continuation, decoded token by token, that ends before its stop text; text once returned is final."""

    def __init__(self, tokenizer: Tokenizer, stop: str | None) -> None:
        self.tokenizer, self.stop = tokenizer, stop
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.held = ""
        """Decoded text that is held back because it may begin the stop text."""
        self.stopped = False

    def add(self, token: int) -> str:
        """Add a token, and return the text that is now final; incomplete characters wait for their last byte."""
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
        """Return the text that is still held back after the last token."""
        return "" if self.stopped else self.held + self.decoder.decode(b"", final=True)


def stream_texts(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    draws: Sequence[Sampler],
    max_new_tokens: int,
    stop: str | None = None,
) -> Iterator[list[str]]:
    """Yield the continuations of the prompt in pieces, one piece per sampler at a time.

    Generation ends after `max_new_tokens`, or when every continuation has reached its stop text. A prompt that is
    empty, is not UTF-8, or has more tokens than the context raises InputError.
    """
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
    """Return the prompt with its continuation, one text per sampler; raises as `stream_texts` does."""
    pieces = list(stream_texts(model, tokenizer, prompt, draws, max_new_tokens, stop))
    return [prompt + "".join(text) for text in zip(*pieces, strict=True)]
