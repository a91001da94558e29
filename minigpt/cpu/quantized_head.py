"""The quantized head: exact top-k logits by candidate search in a quantized matrix with an error bound.

All V logits are screened with weights of 8 bits. Each screened logit has a bound on its error, so the tokens that can
still be among the k greatest are known, and only their logits are computed exactly. The chosen token is therefore the
one that the full head would have chosen. Generation is limited by memory bandwidth, and the head (V, C) is a large part
of the weights of a small model; in 8 bits it has a quarter of the bytes.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.cpu.weight_layouts import BLOCK_WIDTH, bag_indices

# A smaller head may stay in the CPU's cache, where screening costs as much as it saves.
MIN_HEAD_BYTES = 16 << 20
# With more candidates, gathering their scattered weights costs what screening saves. More than MAX_WANTED wanted tokens
# often have more than MAX_CANDIDATES candidates.
MAX_CANDIDATES, MAX_WANTED = 512, 64
# Candidates are padded to a multiple of this, because torch sums a single output in another order than the full head.
TOGETHER = 16


class Head(Protocol):
    """A linear layer without bias that can also compute some of its outputs, each with the same sum as in all."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def outputs(self, x: Tensor, numbers: Tensor) -> Tensor: ...


def is_worthwhile(weight: Tensor) -> bool:
    """True if screening speeds up a head: torch has a kernel for it, and the weights exceed the CPU's cache."""
    has_kernel = weight.dtype == torch.float32 and torch.backends.cpu.get_cpu_capability().startswith("AVX")
    return has_kernel and weight.nbytes >= MIN_HEAD_BYTES


class QuantizedWeights:
    """An 8-bit copy of a head's weights (V, C), with a bound on the error of its logits.

    Tokens are grouped in blocks of 384 (BLOCK_WIDTH). In a block, the weights of each input are rounded to 256 even
    steps, in FBGEMM's rowwise format, which embedding_bag sums in float32.

    The error of a logit is bounded by a sum over the inputs: |x_i| times the block's greatest quantization error of
    input i, plus the float32 rounding of the sums. Each addition (two per input here, one in the head) errs by at most
    eps / 2 of the sum of magnitudes, and each product by eps / 2 of itself: together less than 2 (C + 4) eps of it.
    """

    def __init__(self, weight: Tensor) -> None:
        self.tokens, inputs = weight.shape
        count = -(-self.tokens // BLOCK_WIDTH)
        self.packed = torch.empty(count, inputs, BLOCK_WIDTH + 8, dtype=torch.uint8)  # + scale and offset
        self.errors = torch.empty(count, inputs)
        rounding = 2 * (inputs + 4) * torch.finfo(torch.float32).eps
        for number, part in enumerate(torch.split(weight, BLOCK_WIDTH)):
            block = F.pad(part.mT, (0, BLOCK_WIDTH - len(part))).contiguous()
            self.packed[number] = torch.ops.quantized.embedding_bag_byte_prepack(block)
            quantized = torch.ops.quantized.embedding_bag_byte_unpack(self.packed[number])
            self.errors[number] = (quantized - block).abs().amax(1) + rounding * block.abs().amax(1)

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Screened logits of x (C,), (blocks, 384), and the error bound of each block, (blocks, 1)."""
        count, inputs, _ = self.packed.shape
        logits = torch.ops.quantized.embedding_bag_byte_rowwise_offsets(
            self.packed.flatten(0, 1), *bag_indices(count, inputs), per_sample_weights=x.repeat(count)
        )
        return logits, (self.errors @ x.abs())[:, None]

    def candidates(self, x: Tensor, wanted: int, plus: Tensor | None) -> Tensor:
        """Tokens whose exact logits of x (C,), with `plus` (V,) added, can be among the `wanted` greatest."""
        logits, error = self.logits(x)
        lower, upper = ((logits + bound).flatten()[: self.tokens] for bound in (-error, error))
        if plus is not None:
            lower, upper = lower + plus, upper + plus
        threshold = lower.max() if wanted == 1 else lower.topk(wanted).values[-1]
        tokens: Tensor = (upper >= threshold).nonzero().flatten()
        return tokens


@dataclass(frozen=True)
class QuantizedHead:
    """A head that finds its greatest logits by screening all of them in 8 bits."""

    head: Head
    screen: QuantizedWeights

    def __call__(self, x: Tensor) -> Tensor:
        """All logits of x (..., C), computed exactly: (..., V)."""
        return self.head(x)

    def greatest(self, x: Tensor, wanted: int, plus: Tensor | None = None) -> Tensor:
        """Logits (V,) of x (1, C) that include the `wanted` greatest after adding `plus` (V,).

        Candidates have their exact logits, without `plus`; all other tokens have -inf. If there are too many candidates
        (close logits) or too few (NaN), every logit is computed exactly.
        """
        if wanted <= min(MAX_WANTED, self.screen.tokens):
            tokens = self.screen.candidates(x[0], wanted, plus)
            if wanted <= len(tokens) <= MAX_CANDIDATES:
                logits = self.head.outputs(x[0], F.pad(tokens, (0, -len(tokens) % TOGETHER)))[: len(tokens)]
                return torch.full((self.screen.tokens,), -torch.inf).index_copy_(0, tokens, logits)
        return self.head(x)[0]
