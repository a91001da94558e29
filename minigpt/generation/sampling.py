"""How the next token is chosen: temperature, top-k and top-p."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt.cpu.matmul import linear
from minigpt.cpu.quantized_head import QuantizedHead
from minigpt.generation.config import SamplingConfig
from minigpt.randomness import stream

# Below it logits, divided by the temperature, would leave what float32 tells apart, and at last its range.
LEAST_TEMPERATURE = 1e-6

# So many likeliest tokens are put in order where these may be enough for top-p.
ORDERED_FIRST = (256, 4096)


@dataclass(frozen=True)
class Sampler:
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

    def choose_by(self, head: QuantizedHead, x: Tensor) -> int:
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


def next_tokens(head: Callable[[Tensor], Tensor], x: Tensor, draws: Sequence[Sampler]) -> list[int]:
    """A token for each draw by what comes before the logits, x (B, C)."""
    if isinstance(head, QuantizedHead) and len(draws) == 1:
        return [draws[0].choose_by(head, x)]
    return [draw.choose(logits) for draw, logits in zip(draws, linear(head, x), strict=True)]


def table_samplers(config: SamplingConfig, seed: int) -> list[Sampler]:
    """The cells of a run's last table, row by row, each with a stream of randomness of its own."""
    return [
        Sampler(temperature, top_k, generator=stream(seed, f"sampling {temperature} {top_k}"))
        for temperature in config.temperatures
        for top_k in config.top_ks
    ]
