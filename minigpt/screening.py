"""The likeliest tokens without reading the whole head: in 8 bits first, then in full the few that can be meant.

The head (V, C) is a third of the weights that a token of GPT-2 has to read. In 8 bits it is a quarter of that, and how
far a logit can then be from the exact one is known, so that what is chosen is what the whole head would have chosen.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

# Tokens whose 8 bits are read side by side, with the same steps for each number of x.
BLOCK_WIDTH = 384
# A head that a cache holds is read as fast as its logits are compared.
LEAST_BYTES = 16 << 20
# More tokens than this are not worth gathering, for their weights are not side by side.
MOST_TOKENS = 256


class Head(Protocol):
    """A linear layer without bias that tells single rows of its weights."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def rows(self, numbers: Tensor) -> Tensor: ...


def gains(weight: Tensor) -> bool:
    """Whether a head of these weights is read faster so: where torch has a kernel for it, and no cache holds them."""
    return weight.nbytes >= LEAST_BYTES and torch.backends.cpu.get_cpu_capability().startswith("AVX")


class Screen:
    """A head's weights (V, C) in 8 bits, and how far they are from these.

    Of 384 tokens each, the weights of one number of x are rounded to 256 even steps (FBGEMM's rowwise bytes, of which
    embedding_bag makes sums in float32). No logit errs by more than the sum of each number's greatest error times that
    number, and the rounding of the sum.
    """

    def __init__(self, weight: Tensor) -> None:
        self.tokens, inputs = weight.shape
        count = -(-self.tokens // BLOCK_WIDTH)
        self.bytes = torch.empty(count, inputs, BLOCK_WIDTH + 8, dtype=torch.uint8)  # a row's step and least at its end
        self.errors = torch.empty(count, inputs)
        for number, part in enumerate(torch.split(weight, BLOCK_WIDTH)):
            block = F.pad(part.mT, (0, BLOCK_WIDTH - len(part))).contiguous()
            self.bytes[number] = torch.ops.quantized.embedding_bag_byte_prepack(block)
            wrong = (torch.ops.quantized.embedding_bag_byte_unpack(self.bytes[number]) - block).abs().amax(1)
            self.errors[number] = wrong + inputs * torch.finfo(torch.float32).eps * block.abs().amax(1)
        self.rows = torch.arange(count * inputs, dtype=torch.int32)

    def candidates(self, x: Tensor, wanted: int, plus: Tensor | None) -> Tensor:
        """The tokens whose logits of x (C,), with `plus` (V,) added, can be among the `wanted` greatest."""
        count, inputs, _ = self.bytes.shape
        logits = torch.ops.quantized.embedding_bag_byte_rowwise_offsets(
            self.bytes.flatten(0, 1), self.rows, self.rows[::inputs].contiguous(), per_sample_weights=x.repeat(count)
        )  # (blocks, 384)
        error = (self.errors @ x.abs())[:, None]
        least, most = ((logits + bound).flatten()[: self.tokens] for bound in (-error, error))
        if plus is not None:
            least, most = least + plus, most + plus
        enough = least.max() if wanted == 1 else least.topk(wanted).values[-1]
        tokens: Tensor = (most >= enough).nonzero().flatten()
        return tokens


@dataclass(frozen=True)
class ScreenedHead:
    """A head that is read in 8 bits first where that is enough."""

    head: Head
    screen: Screen

    def __call__(self, x: Tensor) -> Tensor:
        """All logits of x (..., C), (..., V)."""
        return self.head(x)

    def greatest(self, x: Tensor, count: int, plus: Tensor | None = None) -> Tensor:
        """Logits (V,) of x (1, C), -inf for some of those that are not among the `count` greatest with `plus` added.

        What is left is exact; everything is, where too much would be left: many logits near each other, or none a
        number.
        """
        if count <= MOST_TOKENS:
            tokens = self.screen.candidates(x[0], count, plus)
            if count <= len(tokens) <= MOST_TOKENS:
                logits = torch.full((self.screen.tokens,), -torch.inf)
                return logits.index_copy_(0, tokens, self.head.rows(tokens) @ x[0])
        return self.head(x)[0]
