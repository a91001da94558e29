"""A model made ready to write one text: a single row is to read the weights once and do little more.

What torch does for a single row depends on how its weights lie in memory, so they are laid out anew.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt import products, screening
from minigpt.model import GPT
from minigpt.products import times_transposed
from minigpt.screening import Screen, ScreenedHead

# Columns whose sums embedding_bag (FBGEMM) keeps in 24 of AVX-512's 32 registers while it reads their rows once.
BLOCK_WIDTH = 384


@torch.no_grad()
def prepare(model: GPT) -> None:
    """Make a model ready for `generate` and nothing else, once.

    MKL is as fast as reading where it sums columns that lie in memory one by one: 13.7 instead of 15.5 ms for 124M
    weights on an Intel Xeon with AVX-512. In oneDNN's place torch's embedding_bag sums rows of blocks of columns in
    registers: 16.6 instead of 20.3 ms on an AMD of Zen 4, where MKL takes 24 and reading 14. What surrounds them is
    called without torch's hooks, for each layer's weights push the interpreter's own memory out of the caches: a token
    of GPT-2 124M takes 9.1 instead of 9.8 ms on an AMD of Zen 5, where reading its weights takes 6.7.
    """
    screen = Screen(model.head.weight) if screening.gains(model.head.weight) else None
    for module in list(model.modules()):
        for name, child in module.named_children():
            module.__dict__[name] = _direct(child)  # found before the child itself, which stays where it is
    if screen is not None:
        model.__dict__["head"] = ScreenedHead(model.__dict__["head"], screen)


def _direct(module: nn.Module) -> Any:
    """What does for single rows, and for several, what the module does."""
    match module:
        case nn.Linear() if products.chosen == "torch":
            return Columns(module)
        case nn.Linear():
            blocks = Blocks(module)
            # A tied embedding keeps its own, for what is looked up lies row by row.
            module.weight = nn.Parameter(blocks.weight, requires_grad=False)
            return blocks
        case nn.LayerNorm(normalized_shape=shape, weight=weight, bias=bias, eps=eps):
            return lambda x: torch.layer_norm(x, shape, weight, bias, eps)
        case nn.ModuleList():
            return [child.forward for child in module]
        case nn.Embedding():
            return module
    return module.forward


class Columns:
    """A linear layer whose weights (N, K) lie in memory column by column."""

    def __init__(self, layer: nn.Linear) -> None:
        layer.weight.data = layer.weight.mT.contiguous().mT
        self.weight, self.bias = layer.weight, layer.bias

    def __call__(self, x: Tensor) -> Tensor:
        """x (..., K) to (..., N)."""
        return times_transposed(x, self.weight, self.bias)

    def rows(self, numbers: Tensor) -> Tensor:
        """Weights of some outputs."""
        return self.weight[numbers]


class Blocks:
    """A linear layer of weights (N, K), stored as (blocks, K, width), the last block filled up with zeros.

    A single row is a sum of the blocks' rows, each times its number of x; the bias is one row more, times 1. For one
    thread at a time, and without gradients: the numbers of x are kept in place.
    """

    def __init__(self, layer: nn.Linear) -> None:
        self.outputs, self.inputs = layer.weight.shape
        self.bias = layer.bias
        threads = torch.get_num_threads()
        count = threads * -(-self.outputs // (threads * BLOCK_WIDTH))  # each thread has as many
        width = 16 * -(-self.outputs // (count * 16))
        columns = layer.weight if layer.bias is None else torch.cat([layer.weight, layer.bias[:, None]], dim=1)
        filled = F.pad(columns, (0, 0, 0, count * width - self.outputs))
        blocks = filled.view(count, width, -1).mT.contiguous()
        self.weight = blocks[:, : self.inputs]
        shares = torch.ones(1, count, blocks.shape[1])
        self.shares = shares[:, :, : self.inputs]
        self.bag = (blocks.flatten(0, 1), *bags(count, blocks.shape[1]), False, 0, False, shares.flatten())

    def __call__(self, x: Tensor) -> Tensor:
        """x (..., K) to (..., N)."""
        if x.numel() == self.inputs:
            self.shares.copy_(x)
            y = torch.embedding_bag(*self.bag)[0].view(*x.shape[:-1], -1)
            return y if y.shape[-1] == self.outputs else y[..., : self.outputs]
        y = torch.cat([times_transposed(x, block.mT) for block in self.weight], dim=-1)[..., : self.outputs]
        return y if self.bias is None else y + self.bias

    def rows(self, numbers: Tensor) -> Tensor:
        """Weights of some outputs."""
        width = self.weight.shape[2]
        return self.weight[numbers // width, :, numbers % width]


@cache
def bags(count: int, rows: int) -> tuple[Tensor, Tensor]:
    """The number of each row of so many blocks, and of each block's first."""
    numbers = torch.arange(count * rows, dtype=torch.int32)
    return numbers, numbers[::rows].contiguous()
