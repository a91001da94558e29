"""Matrix products in fp32, by the library that uses what the CPU has.

torch multiplies with Intel's MKL, which leaves the AVX-512 of other makers' CPUs alone. oneDNN, which torch carries as
well, does not: 440 instead of 200 GFLOP/s on two cores of a Zen 5, and weights read 2.6 times as fast for a single row.
torch has no public switch for fp32, so its operator is called by name, which the pinned version of torch keeps true.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Library = Literal["torch", "onednn"]

# Columns whose sums embedding_bag (FBGEMM) keeps in 24 of AVX-512's 32 registers while it reads their rows once.
BLOCK_WIDTH = 384

_library: Library = "torch"


def use(library: Library) -> None:
    """Choose for this process, as one does with the number of threads."""
    global _library
    _library = library


def times_transposed(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a (..., K) times b (N, K) transposed, plus the bias (N,), to (..., N); both may be transposed views."""
    if _library == "torch" or a.dtype != torch.float32:
        if a.numel() == a.shape[-1] and not torch.is_grad_enabled():  # read by MKL a tenth faster than as a matrix
            row = torch.mv(b, a.flatten()) if bias is None else torch.addmv(bias, b, a.flatten())
            return row.view(*a.shape[:-1], -1)
        return F.linear(a, b, bias)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")
    return product


@torch.no_grad()
def store_for_writing(model: nn.Module) -> None:
    """Make a model ready for `generate` and nothing else, once: a single row is to read its weights and do little more.

    MKL is as fast as reading where it sums columns that lie in memory one by one: 13.7 instead of 15.5 ms for 124M
    weights on an Intel Xeon with AVX-512. In oneDNN's place torch's embedding_bag sums rows of blocks of columns in
    registers: 16.6 instead of 20.3 ms on an AMD of Zen 4, where MKL takes 24 and reading 14. What surrounds them is
    called without torch's hooks, for each layer's weights push the interpreter's own memory out of the caches: a token
    of GPT-2 124M takes 9.1 instead of 9.8 ms on an AMD of Zen 5, where reading its weights takes 6.7.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            module.__dict__[name] = _direct(child)  # found before the child itself, which stays where it is


def _direct(module: nn.Module) -> Any:
    """What does for single rows, and for several, what the module does."""
    match module:
        case nn.Linear() if _library == "torch":
            module.weight.data = module.weight.mT.contiguous().mT
            return partial(times_transposed, b=module.weight, bias=module.bias)
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
        self.bag = (blocks.flatten(0, 1), *_bags(count, blocks.shape[1]), False, 0, False, shares.flatten())

    def __call__(self, x: Tensor) -> Tensor:
        """x (..., K) to (..., N)."""
        if x.numel() == self.inputs:
            self.shares.copy_(x)
            y = torch.embedding_bag(*self.bag)[0].view(*x.shape[:-1], -1)
            return y if y.shape[-1] == self.outputs else y[..., : self.outputs]
        y = torch.cat([times_transposed(x, block.mT) for block in self.weight], dim=-1)[..., : self.outputs]
        return y if self.bias is None else y + self.bias


@cache
def _bags(count: int, rows: int) -> tuple[Tensor, Tensor]:
    """The number of each row of so many blocks, and of each block's first."""
    numbers = torch.arange(count * rows, dtype=torch.int32)
    return numbers, numbers[::rows].contiguous()


class _Linear(torch.autograd.Function):
    """torch has no derivative of the operator."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return times_transposed(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0]
        rows = gradient.flatten(0, -2)
        bias_gradient = rows.sum(0) if ctx.needs_input_grad[2] else None
        return times_transposed(gradient, weight.mT), times_transposed(rows.mT, x.flatten(0, -2).mT), bias_gradient


def linear(layer: nn.Linear | Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The layer of x (..., K) to (..., N), or what stands in its place in a model that is ready to write."""
    if not isinstance(layer, nn.Linear):
        return layer(x)
    differentiated = torch.is_grad_enabled()
    if torch.is_autocast_enabled("cpu") or (_library == "torch" and differentiated):
        return F.linear(x, layer.weight, layer.bias)
    if not differentiated:
        return times_transposed(x, layer.weight, layer.bias)
    result: Tensor = _Linear.apply(x, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
    return result
