"""How the weights of a linear layer lie in memory where single rows are to read them once and do little more."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.cpu.matmul import times_transposed

# Columns whose sums embedding_bag (FBGEMM) keeps in 24 of AVX-512's 32 registers while it reads their rows once.
BLOCK_WIDTH = 384


class ColumnMajorLinear:
    """A linear layer of weights (N, K), stored column by column, as MKL reads a single row's fastest."""

    def __init__(self, layer: nn.Linear) -> None:
        layer.weight.data = layer.weight.mT.contiguous().mT
        self.weight, self.bias = layer.weight, layer.bias

    def __call__(self, x: Tensor) -> Tensor:
        """x (..., K) to (..., N)."""
        return times_transposed(x, self.weight, self.bias)

    def outputs(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Some outputs of x (K,) by their numbers (n,), without the bias."""
        return torch.mv(self.weight[numbers].mT.contiguous().mT, x)


class BlockedLinear:
    """A linear layer of weights (N, K), stored as (blocks, K, width), the last block filled up with zeros.

    A single row is a sum of the blocks' rows, each times its number of x; the bias is one row more, times 1. For one
    thread at a time, and without gradients: the numbers of x are kept in place.
    """

    def __init__(self, layer: nn.Linear) -> None:
        self.size, self.inputs = layer.weight.shape
        self.bias = layer.bias
        threads = torch.get_num_threads()
        count = threads * -(-self.size // (threads * BLOCK_WIDTH))  # each thread has as many
        width = 16 * -(-self.size // (count * 16))
        columns = layer.weight if layer.bias is None else torch.cat([layer.weight, layer.bias[:, None]], dim=1)
        filled = F.pad(columns, (0, 0, 0, count * width - self.size))
        blocks = filled.view(count, width, -1).mT.contiguous()
        self.weight = blocks[:, : self.inputs]
        shares = torch.ones(1, count, blocks.shape[1])
        self.shares = shares[:, :, : self.inputs]
        self.bag = (blocks.flatten(0, 1), *bag_indices(count, blocks.shape[1]), False, 0, False, shares.flatten())

    def __call__(self, x: Tensor) -> Tensor:
        """x (..., K) to (..., N)."""
        if x.numel() == self.inputs:
            self.shares.copy_(x)
            y = torch.embedding_bag(*self.bag)[0].view(*x.shape[:-1], -1)
            return y if y.shape[-1] == self.size else y[..., : self.size]
        y = torch.cat([times_transposed(x, block.mT) for block in self.weight], dim=-1)[..., : self.size]
        return y if self.bias is None else y + self.bias

    def outputs(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Some outputs of x (K,) by their numbers (n,), without the bias."""
        width = self.weight.shape[2]
        rows = self.weight[numbers // width, :, numbers % width].mT.contiguous()  # (K, n)
        return torch.embedding_bag(rows, *bag_indices(1, self.inputs), False, 0, False, x)[0][0]


@cache
def bag_indices(count: int, rows: int) -> tuple[Tensor, Tensor]:
    """The number of each row of so many blocks, and of each block's first."""
    numbers = torch.arange(count * rows, dtype=torch.int32)
    return numbers, numbers[::rows].contiguous()
