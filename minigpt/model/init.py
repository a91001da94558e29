"""The weights that a model starts from, a pure function of its config and the seed."""

import math

import torch
from torch import Tensor, nn

from minigpt.model.config import ModelConfig
from minigpt.model.gpt import GPT, Block, empty_model
from minigpt.randomness import init_stream


def build_model(config: ModelConfig, vocabulary_size: int, seed: int) -> GPT:
    """A model with the weights that the seed and the config give it."""
    model = empty_model(config, vocabulary_size)
    initialize(model, seed)
    return model


@torch.no_grad()
def initialize(model: GPT, seed: int) -> None:
    """Give every weight its first value, in place."""
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
    """nn.Embedding's and nn.Linear's defaults in the order of the book's modules, where Q, K and V are apart."""

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
    """Normal with deviation 0.02, the two layers that end in the residual stream by 1 / sqrt(2 layers) less."""
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            residual = name.endswith(("project.weight", "contract.weight"))
            weight.normal_(std=0.02 / math.sqrt(2 * model.config.layers) if residual else 0.02, generator=generator)
        elif name.endswith("bias"):
            weight.zero_()


def _initialize_modern(model: GPT, generator: torch.Generator) -> None:
    """Matrices keep the size of what they read; those that end in the residual stream, head and smear start at 0."""
    for name, weight in model.named_parameters():
        if name.endswith(("project.weight", "contract.weight", "head.weight", "smear")):
            weight.zero_()
        elif name == "token_embedding.weight":
            weight.normal_(std=0.02, generator=generator)
        else:
            weight.normal_(std=1 / math.sqrt(weight.shape[1]), generator=generator)
