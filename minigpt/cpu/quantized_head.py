"""The likeliest tokens without reading the whole head: in 8 bits first, then in full the few that can be chosen.

The head (V, C) is a third of the weights that a token of GPT-2 has to read. In 8 bits it is a quarter of that, and how
far a logit can then be from the exact one is known, so that what is chosen is what the whole head would have chosen.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.cpu.weight_layouts import BLOCK_WIDTH, bag_indices

# A smaller head may stay in the CPU's cache, and then this costs as much as it saves.
MIN_HEAD_BYTES = 16 << 20
# Of weights that do not lie side by side, 512 tokens' take 2 ms of the 3 that are saved at GPT-2's size. Where more
# than 64 are wanted, more than 512 can often be among them.
MAX_CANDIDATES, MAX_WANTED = 512, 64
# So many at least are computed at once: torch sums a single one in another order than the whole head does.
TOGETHER = 16


class Head(Protocol):
    """A linear layer without bias, of which some outputs can be had, each summed as among all."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def outputs(self, x: Tensor, numbers: Tensor) -> Tensor: ...


def is_worthwhile(weight: Tensor) -> bool:
    """Whether a head of these weights is read faster so: where torch has a kernel for it, and no cache holds them."""
    has_kernel = weight.dtype == torch.float32 and torch.backends.cpu.get_cpu_capability().startswith("AVX")
    return has_kernel and weight.nbytes >= MIN_HEAD_BYTES


class QuantizedWeights:
    """A head's weights (V, C) in 8 bits, and how far they are from these.

    Of 384 tokens each, the weights of one number of x are rounded to 256 even steps (FBGEMM's rowwise bytes, of which
    embedding_bag makes sums in float32). No logit errs by more than the sum of each number's greatest error times that
    number, and the rounding of the sums: each addition, two for a number here and one in the head, errs by eps / 2 of
    all that is summed at most, and each product by eps / 2 of itself, which together is less than 2 (C + 4) eps.
    """

    def __init__(self, weight: Tensor) -> None:
        self.tokens, inputs = weight.shape
        count = -(-self.tokens // BLOCK_WIDTH)
        self.packed = torch.empty(count, inputs, BLOCK_WIDTH + 8, dtype=torch.uint8)  # at a row's end: step and least
        self.errors = torch.empty(count, inputs)
        rounding = 2 * (inputs + 4) * torch.finfo(torch.float32).eps
        for number, part in enumerate(torch.split(weight, BLOCK_WIDTH)):
            block = F.pad(part.mT, (0, BLOCK_WIDTH - len(part))).contiguous()
            self.packed[number] = torch.ops.quantized.embedding_bag_byte_prepack(block)
            wrong = (torch.ops.quantized.embedding_bag_byte_unpack(self.packed[number]) - block).abs().amax(1)
            self.errors[number] = wrong + rounding * block.abs().amax(1)

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What x (C,) gives in 8 bits, (blocks, 384), and how far each block's may be from the head's, (blocks, 1)."""
        count, inputs, _ = self.packed.shape
        logits = torch.ops.quantized.embedding_bag_byte_rowwise_offsets(
            self.packed.flatten(0, 1), *bag_indices(count, inputs), per_sample_weights=x.repeat(count)
        )
        return logits, (self.errors @ x.abs())[:, None]

    def candidates(self, x: Tensor, wanted: int, plus: Tensor | None) -> Tensor:
        """The tokens whose logits of x (C,), with `plus` (V,) added, can be among the `wanted` greatest."""
        logits, error = self.logits(x)
        least, most = ((logits + bound).flatten()[: self.tokens] for bound in (-error, error))
        if plus is not None:
            least, most = least + plus, most + plus
        enough = least.max() if wanted == 1 else least.topk(wanted).values[-1]
        tokens: Tensor = (most >= enough).nonzero().flatten()
        return tokens


@dataclass(frozen=True)
class QuantizedHead:
    """A head that is read in 8 bits first where that is enough."""

    head: Head
    screen: QuantizedWeights

    def __call__(self, x: Tensor) -> Tensor:
        """All logits of x (..., C), (..., V)."""
        return self.head(x)

    def greatest(self, x: Tensor, wanted: int, plus: Tensor | None = None) -> Tensor:
        """Logits (V,) of x (1, C), -inf for some that are not among the `wanted` greatest with `plus` added.

        What is left is as the whole head has it. Everything is where too much would be left: of many logits near each
        other, or of NaN.
        """
        if wanted <= min(MAX_WANTED, self.screen.tokens):
            tokens = self.screen.candidates(x[0], wanted, plus)
            if wanted <= len(tokens) <= MAX_CANDIDATES:
                logits = self.head.outputs(x[0], F.pad(tokens, (0, -len(tokens) % TOGETHER)))[: len(tokens)]
                return torch.full((self.screen.tokens,), -torch.inf).index_copy_(0, tokens, logits)
        return self.head(x)[0]
