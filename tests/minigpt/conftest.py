"""What tests of the library share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from minigpt import products, tokenizer
from minigpt.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def gpt2(shared: Path) -> Tokenizer:
    """GPT-2's vocabulary, which takes a second to read."""
    assert shared.is_dir()
    return tokenizer.published_gpt2()


@pytest.fixture
def torchs_own_again() -> Iterator[None]:
    """For tests that choose a library."""
    yield
    products.use("torch")


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
