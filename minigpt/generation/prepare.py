"""A model made ready to write one text: a single row is to read the weights once and do little more."""

from typing import Any

import torch
from torch import nn

from minigpt.cpu import matmul as products
from minigpt.cpu.quantized_head import QuantizedHead, QuantizedWeights, is_worthwhile
from minigpt.cpu.weight_layouts import BlockedLinear, ColumnMajorLinear
from minigpt.model.gpt import GPT


@torch.no_grad()
def prepare_for_generation(model: GPT) -> None:
    """Make a model ready for `generate` and nothing else, once.

    MKL is as fast as reading where it sums columns that lie in memory one by one: 13.7 instead of 15.5 ms for 124M
    weights on an Intel Xeon with AVX-512. In oneDNN's place torch's embedding_bag sums rows of blocks of columns in
    registers: 16.6 instead of 20.3 ms on an AMD of Zen 4, where MKL takes 24 and reading 14. What surrounds them is
    called without torch's hooks, for each layer's weights push the interpreter's own memory out of the caches: a token
    of GPT-2 124M takes 9.1 instead of 9.8 ms on an AMD of Zen 5, where reading its weights takes 6.7. With its head
    in 8 bits as well, for 40 MB and a tenth of a second, it takes 8.6 instead of 10.5 at another time of that machine.
    """
    screen = QuantizedWeights(model.head.weight) if is_worthwhile(model.head.weight) else None
    for module in list(model.modules()):
        for name, child in module.named_children():
            module.__dict__[name] = _direct(child)  # found before the child itself, which stays where it is
    if screen is not None:
        model.__dict__["head"] = QuantizedHead(model.__dict__["head"], screen)


def _direct(module: nn.Module) -> Any:
    """What does for single rows, and for several, what the module does."""
    match module:
        case nn.Linear() if products.chosen == "torch":
            return ColumnMajorLinear(module)
        case nn.Linear():
            blocks = BlockedLinear(module)
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
