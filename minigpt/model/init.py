"""Initial weights of a model, a pure function of its config and the seed."""

import math

import torch
from torch import Tensor, nn

from minigpt.model.config import ModelConfig
from minigpt.model.gpt import GPT, Block, empty_model
from minigpt.randomness import init_stream


def build_model(config: ModelConfig, vocabulary_size: int, seed: int) -> GPT:
    """Build a model with its initial weights."""
    model = empty_model(config, vocabulary_size)
    initialize(model, seed)
    return model


@torch.no_grad()
def initialize(model: GPT, seed: int) -> None:
    """Write the initial weights into `model`, in place."""
    generator = init_stream(seed)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight.fill_(1.0)
            module.bias.zero_()
    if model.config.architecture == "modern":
        _initialize_modern(model, generator)
    elif model.config.initialisation == "pytorch":
        _initialize_pytorch(model, generator)
    else:
        _initialize_gpt2(model, generator)


def _initialize_pytorch(model: GPT, generator: torch.Generator) -> None:
    """The defaults of nn.Embedding and nn.Linear, drawn in the book's order, where Q, K and V are separate layers."""

    def linear(weight: Tensor, bias: Tensor | None) -> None:
        bound = 1 / math.sqrt(weight.shape[1])
        weight.uniform_(-bound, bound, generator=generator)
        if bias is not None:
            bias.uniform_(-bound, bound, generator=generator)

    model.token_embedding.weight.normal_(generator=generator)
    model.position_embedding.weight.normal_(generator=generator)
    for block in model.blocks:
        assert isinstance(block, Block)  # noqa: S101  (nn.ModuleList forgets the type)
        qkv = block.attention.qkv
        biases = [None] * 3 if qkv.bias is None else qkv.bias.chunk(3)
        for weight, bias in zip(qkv.weight.chunk(3), biases, strict=True):
            linear(weight, bias)
        for layer in (block.attention.project, block.expand, block.contract):
            linear(layer.weight, layer.bias)
    if not model.config.tied_head:
        linear(model.head.weight, None)


def _initialize_gpt2(model: GPT, generator: torch.Generator) -> None:
    """Normal with standard deviation 0.02, times 1 / sqrt(2 layers) for projections into the residual stream."""
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            residual = name.endswith(("project.weight", "contract.weight"))
            weight.normal_(std=0.02 / math.sqrt(2 * model.config.layers) if residual else 0.02, generator=generator)
        elif name.endswith("bias"):
            weight.zero_()


def _initialize_modern(model: GPT, generator: torch.Generator) -> None:
    """Normal with standard deviation 1 / sqrt(inputs), which preserves the scale of activations; 0.02 for embeddings.

    The projections into the residual stream, the head and the smear start at zero, so every block starts as identity.
    """
    for name, weight in model.named_parameters():
        if name.endswith(("project.weight", "contract.weight", "head.weight", "smear")):
            weight.zero_()
        elif name == "token_embedding.weight":
            weight.normal_(std=0.02, generator=generator)
        else:
            weight.normal_(std=1 / math.sqrt(weight.shape[1]), generator=generator)
