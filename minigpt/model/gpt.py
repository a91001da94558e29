"""GPT-2 as the book builds it, and a modern variant.

The modern variant makes the choices of modded-nanogpt: rotary positions (Su et al. 2021), RMSNorm without weights, also
on queries and keys (Henry et al. 2020), squared ReLU (So et al. 2021), no biases, output projections that start at
zero, and smeared embeddings (each adds a learnt share of the previous token's embedding). The ablation in
docs/pages/benchmarks.md measures what each of them contributes.

Shapes: B sequences in a batch, T tokens in a sequence, C the width, H heads of D = C / H, V the vocabulary size.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.cpu.kernels import Dropout, causal_attention, linear_cross_entropy, rms_norm, squared_relu
from minigpt.cpu.matmul import linear
from minigpt.model.config import ModelConfig

ROTARY_BASE = 10_000.0


def drop(values: Tensor, dropout: Dropout | None) -> Tensor:
    """Apply dropout, or return the values unchanged if there is none."""
    return values if dropout is None else dropout(values)


class KVCache:
    """Keys and values of the tokens seen so far: two tensors (B, H, context_length, D) per layer."""

    def __init__(self, config: ModelConfig, batch_size: int) -> None:
        shape = (batch_size, config.heads, config.context_length, config.width // config.heads)
        self.keys = [torch.empty(shape) for _ in range(config.layers)]
        self.values = [torch.empty(shape) for _ in range(config.layers)]
        self.length = 0
        self.last = torch.zeros(batch_size, 1, dtype=torch.int64)
        """The last token seen, (B, 1); zeros while `length` is 0."""

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values (B, H, T, D) of a layer, and return all of them, (B, H, length + T, D).

        `length` stays as it is until `GPT.hidden` has extended every layer.
        """
        end = self.length + key.shape[2]
        self.keys[layer][:, :, self.length : end] = key
        self.values[layer][:, :, self.length : end] = value
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]


@dataclass
class ForwardPass:
    """The context of one forward pass, shared by all blocks."""

    dropout: Dropout | None = None
    attention_dropout: Dropout | None = None
    cache: KVCache | None = None
    rotation: Tensor | None = None
    """Rotary positions as complex numbers of modulus 1, (T, 1, 1, D / 2); None for gpt2."""


def rotations(start: int, length: int, head_width: int) -> Tensor:
    """Rotary positions for `length` tokens from position `start`, complex, (length, 1, 1, head_width / 2).

    The first pair of a head turns by 1 radian per token; every later pair turns more slowly.
    """
    speeds = ROTARY_BASE ** -(torch.arange(head_width // 2) * (2 / head_width))
    angles = torch.arange(start, start + length)[:, None] * speeds
    return torch.polar(torch.ones(()), angles)[:, None, None]


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate neighbouring pairs of the last dimension of x (B, T, ..., D)."""
    pairs = torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rotation).flatten(-2)


class Attention(nn.Module):
    """Causal self-attention with the query, key and value projections in one matrix."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.heads = layer, config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=config.qkv_bias)
        self.project = nn.Linear(config.width, config.width, bias=config.architecture == "gpt2")

    def forward(self, x: Tensor, carried: ForwardPass) -> Tensor:
        batch, length, width = x.shape
        qkv = linear(self.qkv, x).view(batch, length, 3, self.heads, width // self.heads)  # (B, T, 3, H, D)
        if carried.rotation is not None:
            query_key = rotate(rms_norm(qkv[:, :, :2]), carried.rotation).to(qkv.dtype)
            query, key = query_key.permute(2, 0, 3, 1, 4)  # each (B, H, T, D)
            value = qkv[:, :, 2].transpose(1, 2)
        else:
            query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind()
        if carried.cache is not None:
            key, value = carried.cache.extend(self.layer, key, value)
        if carried.cache is not None and length == 1:  # a single query attends to every key, so no mask is needed
            y = F.scaled_dot_product_attention(query, key, value)
        else:  # training, or the prefill of an empty cache: both start at the first token
            y = causal_attention(query, key, value, carried.attention_dropout)
        return linear(self.project, y.transpose(1, 2).reshape(batch, length, width))


class RMSNorm(nn.Module):
    """RMSNorm without weights, as a module."""

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x)


def make_norm(config: ModelConfig) -> nn.Module:
    """Build the normalization layer of the architecture."""
    return RMSNorm() if config.architecture == "modern" else nn.LayerNorm(config.width)


class Block(nn.Module):
    """A pre-norm transformer block: attention, then an MLP of up and down projection, both residual.

    `expand` is the up projection and `contract` the down projection; checkpoints hold these names.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.modern = config.architecture == "modern"
        self.attention_norm = make_norm(config)
        self.attention = Attention(config, layer)
        self.mlp_norm = make_norm(config)
        self.expand = nn.Linear(config.width, 4 * config.width, bias=not self.modern)
        self.contract = nn.Linear(4 * config.width, config.width, bias=not self.modern)

    def forward(self, x: Tensor, carried: ForwardPass) -> Tensor:
        x = x + drop(self.attention(self.attention_norm(x), carried), carried.dropout)
        hidden = linear(self.expand, self.mlp_norm(x))  # (B, T, 4C)
        hidden = squared_relu(hidden) if self.modern else F.gelu(hidden, approximate="tanh")
        return x + drop(linear(self.contract, hidden), carried.dropout)


def embedding(rows: int, width: int) -> nn.Embedding:
    """Build an embedding with uninitialized weights.

    nn.Embedding would draw them, which on the meta device imports torch's compiler and slows down the start.
    """
    return nn.Embedding(rows, width, _weight=torch.empty(rows, width))


class GPT(nn.Module):
    """A decoder-only transformer: logits of the next token after each token."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = embedding(vocabulary_size, config.width)
        if config.architecture == "gpt2":
            self.position_embedding = embedding(config.context_length, config.width)
        else:
            self.smear = nn.Parameter(torch.zeros(config.width))
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.final_norm = make_norm(config)
        self.head = nn.Linear(config.width, vocabulary_size, bias=False)
        if config.tied_head:
            self.head.weight = self.token_embedding.weight

    def hidden(self, tokens: Tensor, dropout: Dropout | None = None, cache: KVCache | None = None) -> Tensor:
        """The head's input (B, T, C) for tokens (B, T), which follow the tokens in the cache if one is given.

        The cache is extended in place. A cache that is not empty takes one token at a time.
        """
        start, length = 0 if cache is None else cache.length, tokens.shape[1]
        carried = ForwardPass(dropout, cache=cache)
        x = self.token_embedding(tokens)
        if self.config.architecture == "modern":
            carried.rotation = rotations(start, length, self.config.width // self.config.heads)
            before = F.pad(x[:, :-1], (0, 0, 1, 0))  # the first token has no predecessor
            if cache is not None and start:
                before[:, :1] = self.token_embedding(cache.last)
            x = rms_norm(x + self.smear * before)
        else:
            carried.attention_dropout = dropout
            x = x + self.position_embedding(torch.arange(start, start + length))
        x = drop(x, dropout)
        for block in self.blocks:
            x = block(x, carried)
        if cache is not None:
            cache.length += length
            cache.last = tokens[:, -1:]
        normed: Tensor = self.final_norm(x)
        return normed

    def forward(self, tokens: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Logits (B, T, V) for tokens (B, T); T is at most the context length."""
        return linear(self.head, self.hidden(tokens, dropout))

    def loss(self, tokens: Tensor, targets: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Mean cross-entropy, in nats per token, of targets (B, T) after tokens (B, T)."""
        return linear_cross_entropy(self.hidden(tokens, dropout).flatten(0, 1), self.head.weight, targets.flatten())


def empty_model(config: ModelConfig, vocabulary_size: int) -> GPT:
    """Build a model with uninitialized weights, to be initialized or loaded."""
    with torch.device("meta"):
        model = GPT(config, vocabulary_size)
    # `to_empty` would import torch's symbolic shapes to find each tensor's layout, which is slow.
    unwritten = {name: torch.empty(weight.shape) for name, weight in model.state_dict().items()}
    model.load_state_dict(unwritten, assign=True)
    if config.tied_head:
        model.head.weight = model.token_embedding.weight
    return model


def count_parameters(model: GPT) -> int:
    """Number of trainable parameters; shared ones count once."""
    return sum(weight.numel() for weight in model.parameters())


def count_multiplied_parameters(model: GPT) -> int:
    """Number of parameters that take part in a matmul.

    Excludes the embedding tables, which are only looked up, but counts a token embedding that the head shares.
    """
    tables = {"position_embedding.weight"} | (set() if model.config.tied_head else {"token_embedding.weight"})
    return sum(weight.numel() for name, weight in model.named_parameters() if name not in tables)
