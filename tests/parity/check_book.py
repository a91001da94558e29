"""Equal to the book's own GPTModel: logits, and the losses of 20 optimizer steps, with equal weights and no dropout.

Run by `make parity`, which makes an environment with the book's package for it.
"""

import io
from itertools import islice
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from llms_from_scratch.ch04 import GPTModel
from torch import nn

from minigpt.data.config import GPT2_VOCABULARY_SIZE, SplitConfig
from minigpt.data.split import split_byte
from minigpt.data.tokenizer import published_gpt2
from minigpt.data.windows import Windows, batch_indices, cut_windows
from minigpt.model.config import ModelConfig
from minigpt.model.gpt import GPT, count_parameters
from minigpt.model.init import build_model
from minigpt.training.config import TrainingConfig
from minigpt.training.loop import train
from minigpt.training.optimizers import make_optimizers

# Two models of 162M parameters take 20 steps each: two minutes alone, more beside other work.
pytestmark = pytest.mark.timeout(1200)

STEPS = 20
TOLERANCE = 1e-4
MODEL = ModelConfig(context_length=256, width=768, heads=12, layers=12, dropout=0.0, initialisation="pytorch")
TRAINING = TrainingConfig(
    batch_size=2, max_steps=90, learning_rate=4e-4, schedule="constant", weight_decay=0.1, gradient_clip_norm=None
)


def books_model() -> nn.Module:
    """The book's model with the weights that the seed 123 gives it."""
    torch.manual_seed(123)
    return GPTModel(
        {
            "vocab_size": GPT2_VOCABULARY_SIZE,
            "context_length": MODEL.context_length,
            "emb_dim": MODEL.width,
            "n_heads": MODEL.heads,
            "n_layers": MODEL.layers,
            "drop_rate": 0.0,
            "qkv_bias": False,
        }
    )


@pytest.fixture(scope="module")
def windows(shared: Path) -> Windows:
    text = (shared / "corpora" / "the-verdict.txt").read_bytes()
    split = SplitConfig(boundary="character")
    tokens = published_gpt2().encode(text[: split_byte(io.BytesIO(text), split)].decode())
    return cut_windows(tokens, "train", MODEL.context_length, split)


@pytest.fixture(scope="module")
def ours() -> GPT:
    return build_model(MODEL, GPT2_VOCABULARY_SIZE, seed=123)


def test_the_seed_gives_both_the_same_weights(ours: GPT) -> None:
    theirs = books_model()
    assert torch.equal(ours.head.weight, theirs.out_head.weight)
    assert sum(weight.numel() for weight in theirs.parameters()) == count_parameters(ours)


def test_logits_and_losses_agree(ours: GPT, windows: Windows) -> None:
    theirs = books_model()
    inputs, _ = windows.batch(batch_indices(len(windows), 2, 123, 0))
    with torch.no_grad():
        torch.testing.assert_close(ours(inputs), theirs(inputs), atol=TOLERANCE, rtol=0)
    steps = train(ours, make_optimizers(ours, TRAINING), windows, TRAINING, seed=123)
    losses = [metrics.loss for metrics in islice(steps, STEPS)]
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=TRAINING.learning_rate, weight_decay=TRAINING.weight_decay)
    for step, loss in enumerate(losses):
        inputs, targets = windows.batch(batch_indices(len(windows), 2, 123, step))
        optimizer.zero_grad()
        book_loss = F.cross_entropy(theirs(inputs).flatten(0, 1), targets.flatten())
        book_loss.backward()
        optimizer.step()
        assert loss == pytest.approx(book_loss.item(), abs=TOLERANCE), f"step {step + 1}"
