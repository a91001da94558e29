"""Matrix products in fp32, by the library that uses what the CPU has.

torch multiplies with Intel's MKL, which leaves the AVX-512 of other makers' CPUs alone. oneDNN, which torch carries as
well, does not: 440 instead of 200 GFLOP/s on two cores of a Zen 5, and weights read 2.6 times as fast for a single row.
torch has no public switch for fp32, so its operator is called by name, which the pinned version of torch keeps true.
"""

from functools import cache
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
    """Store the weights of linear layers for a model that multiplies single rows from now on, which is to read them.

    MKL is as fast as reading where it sums columns that lie in memory one by one: 13.7 instead of 15.5 ms for 124M
    weights on an Intel Xeon with AVX-512. In oneDNN's place torch's embedding_bag sums rows of blocks of columns in
    registers: 16.6 instead of 20.3 ms on an AMD of Zen 4, where MKL takes 24 and reading 14.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            if _library == "torch":
                layer.weight.data = layer.weight.mT.contiguous().mT
            else:  # a tied embedding keeps its own, for what is looked up lies row by row
                layer.weight = nn.Parameter(_blocks(layer.weight), requires_grad=False)


def _blocks(weight: Tensor) -> Tensor:
    """Weights (N, K) as (blocks, K, width), the last block filled up with zeros; each thread has as many blocks."""
    outputs, inputs = weight.shape
    threads = torch.get_num_threads()
    count = threads * -(-outputs // (threads * BLOCK_WIDTH))
    width = 16 * -(-outputs // (count * 16))
    filled = F.pad(weight, (0, 0, 0, count * width - outputs))
    return filled.view(count, width, inputs).mT.contiguous()


@cache
def _bags(count: int, inputs: int) -> tuple[Tensor, Tensor]:
    """The number of each row of so many blocks, and of each block's first."""
    rows = torch.arange(count * inputs, dtype=torch.int32)
    return rows, rows[::inputs].contiguous()


def _by_blocks(layer: nn.Linear, x: Tensor) -> Tensor:
    """The layer, its weights in blocks, of x (..., K) to (..., N)."""
    count, inputs, width = layer.weight.shape
    if x.numel() == inputs:
        rows, firsts = _bags(count, inputs)
        shares = x.reshape(1, inputs).expand(count, inputs).flatten()
        y = F.embedding_bag(rows, layer.weight.view(-1, width), firsts, mode="sum", per_sample_weights=shares)
    else:
        y = (x.flatten(0, -2) @ layer.weight).transpose(0, 1)  # (rows, blocks, width)
    y = y.reshape(*x.shape[:-1], count * width)[..., : layer.out_features]
    return y if layer.bias is None else y + layer.bias


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


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """The layer of x (..., K) to (..., N)."""
    if layer.weight.dim() == 3:
        return _by_blocks(layer, x)
    differentiated = torch.is_grad_enabled()
    if torch.is_autocast_enabled("cpu") or (_library == "torch" and differentiated):
        return F.linear(x, layer.weight, layer.bias)
    if not differentiated:
        return times_transposed(x, layer.weight, layer.bias)
    result: Tensor = _Linear.apply(x, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
    return result
