"""The peers' models at the verdict shape, called as their packages document. Import it only in .venv-bench."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.shape import CONTEXT_LENGTH, DROPOUT, HEADS, LAYERS, LEARNING_RATE, VOCABULARY_SIZE, WEIGHT_DECAY, WIDTH

Loss = Callable[[Tensor, Tensor], Tensor]


def book() -> tuple[nn.Module, Loss]:
    """Raschka's GPTModel and loss."""
    from llms_from_scratch.ch04 import GPTModel
    from llms_from_scratch.ch05 import calc_loss_batch

    model = GPTModel(
        {
            "vocab_size": VOCABULARY_SIZE,
            "context_length": CONTEXT_LENGTH,
            "emb_dim": WIDTH,
            "n_heads": HEADS,
            "n_layers": LAYERS,
            "drop_rate": DROPOUT,
            "qkv_bias": False,
        }
    )
    return model, lambda inputs, targets: calc_loss_batch(inputs, targets, model, torch.device("cpu"))


def transformers() -> tuple[nn.Module, Loss]:
    """GPT-2 with an untied head; the model shifts the labels itself."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCABULARY_SIZE,
        n_positions=CONTEXT_LENGTH,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        resid_pdrop=DROPOUT,
        embd_pdrop=DROPOUT,
        attn_pdrop=DROPOUT,
        tie_word_embeddings=False,
    )
    model = GPT2LMHeadModel(config)
    return model, lambda inputs, _: model(inputs, labels=inputs, use_cache=False).loss


def litgpt() -> tuple[nn.Module, Loss]:
    """A GPT of the same size with rotary positions; litgpt has no dropout."""
    from litgpt.model import GPT, Config
    from litgpt.utils import chunked_cross_entropy

    config = Config(
        block_size=CONTEXT_LENGTH,
        vocab_size=VOCABULARY_SIZE,
        padded_vocab_size=VOCABULARY_SIZE,
        n_layer=LAYERS,
        n_head=HEADS,
        n_embd=WIDTH,
    )
    model = GPT(config)
    model.apply(model._init_weights)
    return model, lambda inputs, targets: chunked_cross_entropy(model(inputs), targets)


def optimizer(name: str, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW with torch's defaults for the book, as in its script; the fused one, which is faster, for the others."""
    fused = None if name == "book" else True
    return torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=fused)


MODELS = {"book": book, "transformers": transformers, "litgpt": litgpt}
