"""CPU kernels of the training step that need less time or memory than torch's own operators; gradients are exact.

Attention, loss and squared ReLU compute in the dtype of their inputs, or in autocast's; all of them sum in float32.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.cpu.matmul import times_transposed

# Queries per block of attention. Scores after a block's last query are never computed, and the scores of one block of
# all heads of a batch fit into the CPU's cache.
QUERIES = 64
# Logits that become gradients at a time, few enough for the CPU's cache. A small vocabulary gets many rows at a time,
# because every operation has a fixed cost.
LOGITS = 2**19


class Dropout:
    """Dropout that draws from a given generator.

    16 random bits decide if a value is kept, so one draw of 64 bits serves four values. The rate is rounded to a
    multiple of 1/65,536, and the scale follows the rounded rate, so that the expected value is exact.
    """

    def __init__(self, rate: float, generator: torch.Generator) -> None:
        self.dropped = round(rate * 65_536)
        self.generator = generator

    def factors(self, shape: torch.Size) -> Tensor:
        """Factors of the given shape in float32: 0 for dropped values, 1 / (1 - rate) for kept ones."""
        count = shape.numel()
        words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None, generator=self.generator)
        # Compare in floats: a comparison into booleans and their conversion are much slower.
        numbers = words.view(torch.int16)[:count].view(shape).to(torch.float32)
        return numbers.ge_(self.dropped - 32_768).mul_(65_536 / (65_536 - self.dropped))

    def __call__(self, values: Tensor) -> Tensor:
        return values * self.factors(values.shape)


class _CausalAttention(torch.autograd.Function):
    """Causal softmax attention, block by block of the queries, with optional dropout on its weights."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, dropout: Dropout | None) -> Tensor:
        query = (query * query.shape[-1] ** -0.5).contiguous()
        key, value = key.contiguous(), value.contiguous()
        future = torch.full((QUERIES, QUERIES), -math.inf).triu_(1)
        output, saved = torch.empty_like(query), []
        for start, end in _query_blocks(query.shape[2]):
            scores = (query[:, :, start:end] @ key[:, :, :end].mT).float()  # (B, H, end - start, end)
            scores[..., start:] += future[: end - start, : end - start]
            weights = scores.softmax(-1)
            factors = None if dropout is None else dropout.factors(weights.shape)
            kept = (weights if factors is None else torch.mul(weights, factors, out=scores)).to(value.dtype)
            output[:, :, start:end] = kept @ value[:, :, :end]
            saved += [weights, factors, kept]
        ctx.save_for_backward(query, key, value, *saved)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, *saved = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        query_gradient = torch.empty_like(query)
        key_gradient, value_gradient = torch.zeros_like(key), torch.zeros_like(value)
        for block, (start, end) in enumerate(_query_blocks(query.shape[2])):
            weights, factors, kept = saved[3 * block : 3 * block + 3]
            outer = gradient[:, :, start:end]
            value_gradient[:, :, :end] += kept.mT @ outer
            inner = (outer @ value[:, :, :end].mT).float()
            if factors is not None:
                inner.mul_(factors)
            scores = torch._softmax_backward_data(inner, weights, -1, torch.float32).to(key.dtype)
            query_gradient[:, :, start:end] = scores @ key[:, :, :end]
            key_gradient[:, :, :end] += scores.mT @ query[:, :, start:end]
        return query_gradient.mul_(query.shape[-1] ** -0.5), key_gradient, value_gradient, None


def _query_blocks(length: int) -> list[tuple[int, int]]:
    """Start and end of each block of queries."""
    return [(start, min(start + QUERIES, length)) for start in range(0, length, QUERIES)]


def causal_attention(query: Tensor, key: Tensor, value: Tensor, dropout: Dropout | None) -> Tensor:
    """Causal attention: query, key and value (B, H, T, D) to (B, H, T, D).

    With dropout, torch leaves its fast path and draws a random number for every weight, including those of future keys.
    Without dropout, its fast path is slower in training than these blocks, so torch's own operator serves inference
    only.
    """
    if dropout is None and not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    attended: Tensor = _CausalAttention.apply(query, key, value, dropout)  # type: ignore[no-untyped-call]
    return attended


class _LinearCrossEntropy(torch.autograd.Function):
    """Linear layer and cross-entropy in one: the logits become their own gradient in place, without a second copy."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            hidden, weight = (part.to(torch.get_autocast_dtype("cpu")) for part in (hidden, weight))
        with torch.autocast("cpu", enabled=False):
            logits = times_transposed(hidden, weight)  # (N, V)
        losses = torch.empty(len(targets))
        count = max(16, LOGITS // len(weight))
        for start in range(0, len(targets), count):
            rows, wanted = logits[start : start + count].float(), targets[start : start + count, None]
            greatest, picked = rows.amax(1, keepdim=True), rows.gather(1, wanted)
            total = rows.sub_(greatest).exp_().sum(1, keepdim=True)
            losses[start : start + count] = (total.log() + greatest - picked).squeeze(1)
            rows.mul_(1 / (total * len(targets)))
            rows.scatter_add_(1, wanted, torch.full_like(total, -1 / len(targets)))
            if logits.dtype != torch.float32:  # in float32, `rows` is a view of the logits
                logits[start : start + count] = rows
        ctx.save_for_backward(hidden, weight, logits)
        return losses.mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden, weight, logits_gradient = ctx.saved_tensors
        scale = gradients[0].item()
        hidden_gradient = times_transposed(logits_gradient, weight.mT)
        weight_gradient = times_transposed(logits_gradient.mT, hidden.mT)
        if scale != 1.0:
            hidden_gradient.mul_(scale)
            weight_gradient.mul_(scale)
        return hidden_gradient.float(), weight_gradient.float(), None


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy, in nats, of targets (N,) under the logits of hidden (N, C) and the head's weight (V, C)."""
    loss: Tensor = _LinearCrossEntropy.apply(hidden, weight, targets)  # type: ignore[no-untyped-call]
    return loss


class _RMSNorm(torch.autograd.Function):
    """RMSNorm with a fused gradient; on a CPU, torch's own is a chain of small operators, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = norm.square_().div_(x.shape[-1]).add_(torch.finfo(x.dtype).eps).rsqrt_()
        normed: Tensor = x * scale
        ctx.save_for_backward(normed, scale)
        return normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        normed, scale = ctx.saved_tensors
        gradient: Tensor = gradients[0]
        along = (gradient * normed).mean(-1, keepdim=True)
        across: Tensor = gradient.addcmul(normed, along, value=-1)
        return across.mul_(scale)


def rms_norm(x: Tensor) -> Tensor:
    """Scale the vectors of the last dimension to a root mean square of 1, in float32."""
    normed: Tensor = _RMSNorm.apply(x.float())  # type: ignore[no-untyped-call]
    return normed


class _SquaredReLU(torch.autograd.Function):
    """Squared ReLU that saves one tensor for its gradient, where torch's operators would save two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = x.clamp_min(0)
        ctx.save_for_backward(positive)
        return positive.square()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        gradient: Tensor = gradients[0]
        return gradient.mul(positive).mul_(2)


def squared_relu(x: Tensor) -> Tensor:
    """max(x, 0) squared, element by element (So et al. 2021)."""
    activated: Tensor = _SquaredReLU.apply(x)  # type: ignore[no-untyped-call]
    return activated
