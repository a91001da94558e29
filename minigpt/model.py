"""GPT-2 as the book builds it, read top to bottom.

Shapes: B sequences in a batch, T tokens in a sequence, C the width, H heads of D = C / H, V the vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from minigpt.config import Part
from minigpt.randomness import init_stream


class ModelConfig(Part):
    """The shape of the network."""

    context_length: int = Field(128, ge=1, le=8192)
    """Tokens that the model sees at once."""
    width: int = Field(128, ge=1, le=8192)
    """Numbers per token between the layers; a multiple of heads."""
    heads: int = Field(4, ge=1, le=128)
    """Attention heads per layer."""
    layers: int = Field(4, ge=1, le=128)
    """Transformer blocks."""
    dropout: float = Field(0.0, ge=0.0, le=0.9)
    """Share of the activations set to zero in training, after embeddings, attention weights and both branches."""
    qkv_bias: bool = False
    """Whether queries, keys and values have a bias."""
    tied_head: bool = False
    """Whether the output layer shares the token embedding's weights."""
    initialisation: Literal["pytorch", "gpt2"] = "gpt2"
    """pytorch: each layer's default, in the book's order; gpt2: normal with deviation 0.02, residuals scaled down."""

    @model_validator(mode="after")
    def heads_divide_width(self) -> "ModelConfig":
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} does not divide width {self.width}; make width a multiple of heads")
        return self


@dataclass(frozen=True)
class Dropout:
    """Dropout with its randomness passed in.

    Each value is kept or not by 16 random bits, so four values cost one draw; the rate is rounded to 1/65,536 and the
    scale follows the rounded rate, so that the expected value is exact.
    """

    rate: float
    generator: torch.Generator

    def __call__(self, values: Tensor) -> Tensor:
        count = values.numel()
        dropped = round(self.rate * 65_536)
        words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None, generator=self.generator)
        keep = words.view(torch.int16)[:count].view(values.shape) >= dropped - 32_768
        return values * keep.to(values.dtype).mul_(65_536 / (65_536 - dropped))


def drop(values: Tensor, dropout: Dropout | None) -> Tensor:
    return values if dropout is None else dropout(values)


class Cache:
    """Keys and values of the tokens seen so far, one pair of (B, H, context_length, D) tensors a layer."""

    def __init__(self, config: ModelConfig, batch_size: int) -> None:
        shape = (batch_size, config.heads, config.context_length, config.width // config.heads)
        self.keys = [torch.empty(shape) for _ in range(config.layers)]
        self.values = [torch.empty(shape) for _ in range(config.layers)]
        self.length = 0

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, H, T, D) behind what is there; the result is all of it, (B, H, length + T, D)."""
        end = self.length + key.shape[2]
        self.keys[layer][:, :, self.length : end] = key
        self.values[layer][:, :, self.length : end] = value
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]


class Attention(nn.Module):
    """Causal self-attention with the three input projections in one matrix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=config.qkv_bias)
        self.project = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, dropout: Dropout | None, cache: Cache | None, layer: int) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)  # (B, T, 3, H, D)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, D)
        if cache is not None:
            key, value = cache.extend(layer, key, value)
        if dropout is None:
            # A lone query may see every key; several start the sequence, for a cache is filled in one pass.
            y = F.scaled_dot_product_attention(query, key, value, is_causal=length > 1)
        else:
            scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])  # (B, H, T, T)
            future = torch.ones(length, length, dtype=torch.bool).triu_(1)
            y = dropout(scores.masked_fill(future, -math.inf).softmax(-1)) @ value
        projected: Tensor = self.project(y.transpose(1, 2).reshape(batch, length, width))
        return projected


class Block(nn.Module):
    """Attention, then a network of one hidden layer, each added to what came in."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config)
        self.mlp_norm = nn.LayerNorm(config.width)
        self.expand = nn.Linear(config.width, 4 * config.width)
        self.contract = nn.Linear(4 * config.width, config.width)

    def forward(self, x: Tensor, dropout: Dropout | None, cache: Cache | None, layer: int) -> Tensor:
        x = x + drop(self.attention(self.attention_norm(x), dropout, cache, layer), dropout)
        hidden = F.gelu(self.expand(self.mlp_norm(x)), approximate="tanh")  # (B, T, 4C)
        return x + drop(self.contract(hidden), dropout)


class GPT(nn.Module):
    """Tokens in, logits for the next token out."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(vocabulary_size, config.width)
        self.position_embedding = nn.Embedding(config.context_length, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, vocabulary_size, bias=False)
        if config.tied_head:
            self.head.weight = self.token_embedding.weight

    def hidden(self, tokens: Tensor, dropout: Dropout | None = None, cache: Cache | None = None) -> Tensor:
        """What the head reads, (B, T, C), of tokens (B, T) that follow what the cache holds."""
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + tokens.shape[1])
        x = drop(self.token_embedding(tokens) + self.position_embedding(positions), dropout)
        for layer, block in enumerate(self.blocks):
            x = block(x, dropout, cache, layer)
        if cache is not None:
            cache.length += tokens.shape[1]
        normed: Tensor = self.final_norm(x)
        return normed

    def forward(self, tokens: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Logits (B, T, V) of tokens (B, T); T is at most the context length."""
        logits: Tensor = self.head(self.hidden(tokens, dropout))
        return logits


def build(config: ModelConfig, vocabulary_size: int, seed: int) -> GPT:
    """A model with the weights that the seed and the config give it."""
    model = empty(config, vocabulary_size)
    initialise(model, seed)
    return model


def empty(config: ModelConfig, vocabulary_size: int) -> GPT:
    """A model whose weights have yet to be written."""
    with torch.device("meta"):
        model = GPT(config, vocabulary_size)
    model.to_empty(device="cpu")
    if config.tied_head:
        model.head.weight = model.token_embedding.weight
    return model


@torch.no_grad()
def initialise(model: GPT, seed: int) -> None:
    """Give every weight its first value, in place."""
    generator = init_stream(seed)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight.fill_(1.0)
            module.bias.zero_()
    if model.config.initialisation == "pytorch":
        _initialise_pytorch(model, generator)
    else:
        _initialise_gpt2(model, generator)


def _initialise_pytorch(model: GPT, generator: torch.Generator) -> None:
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


def _initialise_gpt2(model: GPT, generator: torch.Generator) -> None:
    """Normal with deviation 0.02, the two layers that end in the residual stream by 1 / sqrt(2 layers) less."""
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            residual = name.endswith(("project.weight", "contract.weight"))
            weight.normal_(std=0.02 / math.sqrt(2 * model.config.layers) if residual else 0.02, generator=generator)
        elif name.endswith("bias"):
            weight.zero_()


def parameter_count(model: GPT) -> int:
    """Trainable numbers, a shared one counted once."""
    return sum(weight.numel() for weight in model.parameters())


def multiplied_parameter_count(model: GPT) -> int:
    """The same without embeddings that are only looked up: positions, and tokens unless the head shares them."""
    tokens = 0 if model.config.tied_head else model.token_embedding.weight.numel()
    return parameter_count(model) - model.position_embedding.weight.numel() - tokens
