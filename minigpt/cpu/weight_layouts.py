"""Memory layouts of linear layers for generation, where a single row is limited by memory bandwidth."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.cpu.matmul import times_transposed

# Outputs per block: embedding_bag (FBGEMM) keeps this many float32 sums in 24 of AVX-512's 32 registers, so that it
# reads every row once.
BLOCK_WIDTH = 384


class ColumnMajorLinear:
    """A linear layer whose weights (N, K) are stored column by column, MKL's fastest layout for a single row.

    The weights of `layer` itself get the new layout, in place.
    """

    def __init__(self, layer: nn.Linear) -> None:
        layer.weight.data = layer.weight.mT.contiguous().mT
        self.weight, self.bias = layer.weight, layer.bias

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the layer to x (..., K): (..., N)."""
        return times_transposed(x, self.weight, self.bias)

    def outputs(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Compute the outputs at the indices `numbers` (n,) for x (K,), without the bias: (n,)."""
        return torch.mv(self.weight[numbers].mT.contiguous().mT, x)


class BlockedLinear:
    """A linear layer whose weights (N, K) are stored as (blocks, K, width), with zeros after the last output.

    For a single row x, embedding_bag sums the K rows of each block, weighted by x; the bias is one more row of weight
    1. A layer is not thread-safe, because x is copied into a buffer of its own, and it has no gradients.
    """

    def __init__(self, layer: nn.Linear) -> None:
        self.size, self.inputs = layer.weight.shape
        self.bias = layer.bias
        threads = torch.get_num_threads()
        count = threads * -(-self.size // (threads * BLOCK_WIDTH))  # the same number for every thread
        width = 16 * -(-self.size // (count * 16))
        columns = layer.weight if layer.bias is None else torch.cat([layer.weight, layer.bias[:, None]], dim=1)
        filled = F.pad(columns, (0, 0, 0, count * width - self.size))
        blocks = filled.view(count, width, -1).mT.contiguous()
        self.weight = blocks[:, : self.inputs]
        shares = torch.ones(1, count, blocks.shape[1])
        self.shares = shares[:, :, : self.inputs]
        self.bag = (blocks.flatten(0, 1), *bag_indices(count, blocks.shape[1]), False, 0, False, shares.flatten())

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the layer to x (..., K): (..., N)."""
        if x.numel() == self.inputs:
            self.shares.copy_(x)
            y = torch.embedding_bag(*self.bag)[0].view(*x.shape[:-1], -1)
            return y if y.shape[-1] == self.size else y[..., : self.size]
        y = torch.cat([times_transposed(x, block.mT) for block in self.weight], dim=-1)[..., : self.size]
        return y if self.bias is None else y + self.bias

    def outputs(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Compute the outputs at the indices `numbers` (n,) for x (K,), without the bias: (n,)."""
        width = self.weight.shape[2]
        rows = self.weight[numbers // width, :, numbers % width].mT.contiguous()  # (K, n)
        return torch.embedding_bag(rows, *bag_indices(1, self.inputs), False, 0, False, x)[0][0]


@cache
def bag_indices(count: int, rows: int) -> tuple[Tensor, Tensor]:
    """Indices and offsets that make embedding_bag sum `count` bags of `rows` consecutive rows each, as int32."""
    numbers = torch.arange(count * rows, dtype=torch.int32)
    return numbers, numbers[::rows].contiguous()
