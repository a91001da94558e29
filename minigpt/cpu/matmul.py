"""Matrix products in fp32, by the library that uses what the CPU has.

torch multiplies with Intel's MKL, which leaves the AVX-512 of other makers' CPUs alone. oneDNN, which torch carries as
well, does not: 440 instead of 200 GFLOP/s on two cores of a Zen 5, and weights read 2.6 times as fast for a single row.
torch has no public switch for fp32, so its operator is called by name, which the pinned version of torch keeps true.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.config import MatmulLibrary

chosen: MatmulLibrary = "torch"


def use_matmul_library(library: MatmulLibrary) -> None:
    """Choose for this process, as one does with the number of threads."""
    global chosen
    chosen = library


def times_transposed(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a (..., K) times b (N, K) transposed, plus the bias (N,), to (..., N); both may be transposed views."""
    if chosen == "torch" or a.dtype != torch.float32:
        if a.numel() == a.shape[-1] and not torch.is_grad_enabled():  # read by MKL a tenth faster than as a matrix
            row = torch.mv(b, a.flatten()) if bias is None else torch.addmv(bias, b, a.flatten())
            return row.view(*a.shape[:-1], -1)
        return F.linear(a, b, bias)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")
    return product


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
    if torch.is_autocast_enabled("cpu") or (chosen == "torch" and differentiated):
        return F.linear(x, layer.weight, layer.bias)
    if not differentiated:
        return times_transposed(x, layer.weight, layer.bias)
    result: Tensor = _Linear.apply(x, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
    return result
