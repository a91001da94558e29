"""Choice of the next token, by temperature, top-k and top-p."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt.cpu.matmul import linear
from minigpt.cpu.quantized_head import QuantizedHead
from minigpt.generation.config import SamplingConfig
from minigpt.randomness import stream

# Logits divided by a lower temperature would lose float32's precision, and finally overflow.
LEAST_TEMPERATURE = 1e-6

# Top-p sorts only this many of the likeliest tokens, and all tokens if these are not enough.
ORDERED_FIRST = (256, 4096)


@dataclass(frozen=True)
class Sampler:
    """A rule for choosing the next token; the default is greedy."""

    temperature: float = 0.0
    """Logits are divided by it; 0, or less than 1e-6, takes the likeliest token."""
    top_k: int | None = None
    """Draw from this many of the likeliest tokens; None for all."""
    top_p: float | None = None
    """Draw from the fewest likeliest tokens that have this probability together; None: all (Holtzman et al. 2020)."""
    generator: torch.Generator | None = None
    """The source of randomness; None for torch's global generator."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax of logits (V,) / temperature, with 0 for tokens that top-k or top-p excludes."""
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k).values[-1]
            above, equal = logits > least, logits == least
            first = equal & (equal.cumsum(-1) <= self.top_k - above.sum())  # ties go to the lower index, as in argmax
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
        """Choose one token by logits (V,)."""
        if self.greedy:
            return int(logits.argmax())
        return int(torch.multinomial(self.probabilities(logits), 1, generator=self.generator))

    def choose_by(self, head: QuantizedHead, x: Tensor) -> int:
        """Choose the same token as `choose`, from the head's input x (1, C), with few logits computed exactly."""
        wanted = 1 if self.greedy else self.top_k
        if wanted is not None:
            return self.choose(head.greatest(x, wanted))
        if self.top_p is not None:
            return self.choose(head(x)[0])
        # torch.multinomial draws exponential noise q and takes the greatest p / q. The same q, drawn in advance, shows
        # in logarithms which tokens can win; the generator is then reset, so that multinomial draws it again.
        generator = self.generator or torch.default_generator
        state = generator.get_state()
        noise = torch.empty(head.screen.tokens).exponential_(generator=generator).log_().mul_(-self.temperature)
        generator.set_state(state)
        return self.choose(head.greatest(x, 1, noise))


def nucleus(logits: Tensor, shares: Tensor, enough: float) -> Tensor:
    """Indices of the fewest likeliest tokens whose probabilities `shares` (V,) add up to at least `enough`.

    Ties go to the lower index. Sorting dominates the time, so the likeliest tokens are sorted first: for a trained
    model they are usually enough, and sorting all tokens is several times slower.
    """
    fewer = [count for count in ORDERED_FIRST if count < len(logits)]
    for count in (*fewer, len(logits)):
        tokens = torch.arange(len(logits))
        if count < len(logits):  # empty if logits are NaN
            tokens = ((logits >= logits.topk(count).values[-1]) & (shares > 0)).nonzero().flatten()
        order = tokens[logits[tokens].argsort(descending=True, stable=True)]  # not by shares, which can round to ties
        ordered = shares[order]
        spare = ordered.cumsum(-1) - ordered >= enough  # the likelier tokens are enough without it
        if spare[-1:].any() or len(tokens) == shares.count_nonzero():
            break
    spare[:1] = False
    return order[~spare]


def next_tokens(head: Callable[[Tensor], Tensor], x: Tensor, draws: Sequence[Sampler]) -> list[int]:
    """Choose a token for each sampler in `draws`, from the head's input x (B, C)."""
    if isinstance(head, QuantizedHead) and len(draws) == 1:
        return [draws[0].choose_by(head, x)]
    return [draw.choose(logits) for draw, logits in zip(draws, linear(head, x), strict=True)]


def table_samplers(config: SamplingConfig, seed: int) -> list[Sampler]:
    """The samplers of a run's final table, row by row, each with its own random stream."""
    return [
        Sampler(temperature, top_k, generator=stream(seed, f"sampling {temperature} {top_k}"))
        for temperature in config.temperatures
        for top_k in config.top_ks
    ]
