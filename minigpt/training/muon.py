"""Muon (Jordan et al. 2024): momentum, orthogonalized before each step, for all matrices of one shape at once.

torch.optim.Muon orthogonalizes in bf16, which most CPUs emulate slowly. This one stays in float32.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from minigpt.training.eager import EagerOptimizer

# The polynomial a x + b x^3 + c x^5 that brings singular values in (0, 1] close to 1, and how often it is applied.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon(EagerOptimizer):
    """torch.optim.Muon's step: Nesterov momentum, decoupled weight decay. Each matrix shape is a parameter group."""

    def __init__(self, matrices: Iterable[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for matrix in matrices:
            by_shape.setdefault(matrix.shape, []).append(matrix)
        groups = [{"params": alike} for alike in by_shape.values()]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        gradients = [self._gradients(group) for group in self.param_groups]
        for group, directions in zip(self.param_groups, orthogonalised(gradients), strict=True):
            weights, rate = group["params"], group["lr"]
            rows, columns = weights[0].shape
            torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
            torch._foreach_add_(weights, list(directions), alpha=-rate * max(1, rows / columns) ** 0.5)

    def _gradients(self, group: dict[str, Any]) -> Tensor:
        """The gradients of a group with Nesterov momentum, stacked to (N, rows, columns)."""
        weights, momentum = group["params"], group["momentum"]
        gradients = [weight.grad for weight in weights]
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        momenta = [self.state[weight]["momentum_buffer"] for weight in weights]
        torch._foreach_lerp_(momenta, gradients, 1 - momentum)
        return torch.stack(torch._foreach_lerp(gradients, momenta, momentum))


def orthogonalised(stacks: Sequence[Tensor]) -> list[Tensor]:
    """Stacks of matrices (N, rows, columns) with all singular values brought near 1, by five Newton-Schulz iterations.

    Each is x <- p x with p = a + b g + c g^2 and g = x x^T, where x is the wide one of a matrix and its transpose. The
    next g is p g p, so the iterations run on the small g alone, and x is multiplied once, by the product of all p.
    The g of all stacks with the same smaller side are computed in one batch.
    """
    wide = [stack.mT if stack.shape[1] > stack.shape[2] else stack for stack in stacks]
    wide = [x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7) for x in wide]
    grams = [x @ x.mT for x in wide]
    products: dict[int, Tensor] = {}
    for side in {gram.shape[1] for gram in grams}:
        products[side] = _product(torch.cat([gram for gram in grams if gram.shape[1] == side]))
    results = []
    for stack, x in zip(stacks, wide, strict=True):
        mine, products[x.shape[1]] = products[x.shape[1]].tensor_split([len(x)])
        results.append((mine @ x).mT if stack.shape[1] > stack.shape[2] else mine @ x)
    return results


def _product(gram: Tensor) -> Tensor:
    """The product of the polynomials of all iterations."""
    product = p = _polynomial(gram)
    for _ in range(ITERATIONS - 1):
        gram = p @ gram @ p
        p = _polynomial(gram)
        product = p @ product
    return product


def _polynomial(gram: Tensor) -> Tensor:
    """The polynomial of symmetric matrices (N, n, n)."""
    a, b, c = COEFFICIENTS
    p: Tensor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c).add_(torch.eye(gram.shape[1]), alpha=a)
    return p
