"""The gradient of a step, prepared for the optimizers: its norm, clipping, and the token embedding's sparse part."""

import torch
from torch import Tensor, nn

from minigpt.model.gpt import GPT

# A table with at least this number of rows per token of a step has a sparse gradient: finding its rows is faster.
ROWS_PER_TOKEN = 8


class LookedUp:
    """The gradient of an embedding when a step looks up few of its rows.

    torch writes a dense gradient, mostly zeros, in each step. Here the tensor is kept, and only the rows that were not
    zero are cleared.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.dense = torch.zeros_like(weight)
        self.not_zero = torch.empty(0, dtype=torch.int64)
        """Indices of the rows that are not zero."""

    def spread(self) -> Tensor:
        """Give the weight its dense gradient, and return the rows that are not zero, (n, C)."""
        assert self.weight.grad is not None  # noqa: S101
        sparse = self.weight.grad.coalesce()
        self.dense.index_fill_(0, self.not_zero, 0.0)
        self.not_zero = sparse.indices()[0]
        self.weight.grad = self.dense.index_copy_(0, self.not_zero, sparse.values())
        return sparse.values()


class Gradient:
    """The gradient of a model, from step to step."""

    def __init__(self, model: GPT, tokens_per_step: int) -> None:
        table: nn.Embedding = model.token_embedding
        few = tokens_per_step * ROWS_PER_TOKEN <= table.num_embeddings and model.head.weight is not table.weight
        table.sparse = few  # True: torch returns the gradient of the looked-up rows only
        self.looked_up = LookedUp(table.weight) if few else None
        self.weights = [weight for weight in model.parameters() if not (few and weight is table.weight)]
        self.model = model

    def finish(self, limit: float | None) -> float:
        """Return the 2-norm of the gradient, and scale the gradient down to the limit if it is larger.

        The norm is a sum of scalar products, which is faster and more accurate in fp32 than torch's own norm.
        """
        parts = [weight.grad for weight in self.weights if weight.grad is not None]
        if self.looked_up is not None:
            parts.append(self.looked_up.spread())
        flat = [part.flatten() for part in parts]
        norm = torch.stack([part.dot(part) for part in flat]).sum().sqrt()
        if limit is not None and norm > limit:
            torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), limit, norm)
        return norm.item()
