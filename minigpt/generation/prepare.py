"""Preparation of a model for generation, which is limited by the memory bandwidth of reading the weights."""

from typing import Any

import torch
from torch import nn

from minigpt.cpu import matmul as products
from minigpt.cpu.quantized_head import QuantizedHead, QuantizedWeights, is_worthwhile
from minigpt.cpu.weight_layouts import BlockedLinear, ColumnMajorLinear
from minigpt.model.gpt import GPT


@torch.no_grad()
def prepare_for_generation(model: GPT) -> None:
    """Replace the layers of a model, in place, by versions that are faster for a single row.

    Call it once per model; the model can then only be used for `generate`.

    - With MKL, weights are stored column by column, which reads them at nearly full bandwidth on Intel's CPUs.
    - Instead of oneDNN's matmul, embedding_bag sums blocks of outputs in registers, which is faster on AMD's CPUs.
    - Layers are called without torch's module hooks. Each layer's weights evict the interpreter's own memory from the
      caches, so its overhead is high between layers.
    - A large head becomes a `QuantizedHead`, which takes a quarter of its memory in addition.
    """
    screen = QuantizedWeights(model.head.weight) if is_worthwhile(model.head.weight) else None
    for module in list(model.modules()):
        for name, child in module.named_children():
            module.__dict__[name] = _direct(child)  # shadows the child, which stays registered
    if screen is not None:
        model.__dict__["head"] = QuantizedHead(model.__dict__["head"], screen)


def _direct(module: nn.Module) -> Any:
    """Return a callable with the module's result, for one row or several."""
    match module:
        case nn.Linear() if products.chosen == "torch":
            return ColumnMajorLinear(module)
        case nn.Linear():
            blocks = BlockedLinear(module)
            # This frees the layer's first copy. A tied embedding keeps it, because a lookup reads weights by row.
            module.weight = nn.Parameter(blocks.weight, requires_grad=False)
            return blocks
        case nn.LayerNorm(normalized_shape=shape, weight=weight, bias=bias, eps=eps):
            return lambda x: torch.layer_norm(x, shape, weight, bias, eps)
        case nn.ModuleList():
            return [child.forward for child in module]
        case nn.Embedding():
            return module
    return module.forward
