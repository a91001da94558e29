"""Matmul in fp32 with a choice of library: torch's default (MKL) or oneDNN.

Intel's MKL does not use AVX-512 on CPUs of other makers. oneDNN, which torch also ships, does; there it is faster both
in training and for a single row. torch has no public switch for fp32, so oneDNN's operator is called by its private
name. The pinned version of torch keeps that name valid.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.config import MatmulLibrary

chosen: MatmulLibrary = "torch"


def use_matmul_library(library: MatmulLibrary) -> None:
    """Choose the library for this process, like `torch.set_num_threads`."""
    global chosen
    chosen = library


def times_transposed(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply a (..., K) by the transpose of b (N, K), and add the bias (N,): (..., N).

    Both `a` and `b` may be transposed views.
    """
    if chosen == "torch" or a.dtype != torch.float32:
        if a.numel() == a.shape[-1] and not torch.is_grad_enabled():  # MKL is faster by mv than by mm
            row = torch.mv(b, a.flatten()) if bias is None else torch.addmv(bias, b, a.flatten())
            return row.view(*a.shape[:-1], -1)
        return F.linear(a, b, bias)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")
    return product


class _Linear(torch.autograd.Function):
    """A linear layer with the gradient that torch does not define for oneDNN's operator."""

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
    """Apply a linear layer to x (..., K): (..., N).

    `layer` is an nn.Linear, or the callable that `prepare_for_generation` has put in its place.
    """
    if not isinstance(layer, nn.Linear):
        return layer(x)
    differentiated = torch.is_grad_enabled()
    if torch.is_autocast_enabled("cpu") or (chosen == "torch" and differentiated):
        return F.linear(x, layer.weight, layer.bias)
    if not differentiated:
        return times_transposed(x, layer.weight, layer.bias)
    result: Tensor = _Linear.apply(x, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
    return result
