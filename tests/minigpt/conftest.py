"""What tests of the library share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from minigpt.cpu.matmul import use_matmul_library
from minigpt.data.tokenizer import Tokenizer, published_gpt2


@pytest.fixture(scope="session")
def gpt2(shared: Path) -> Tokenizer:
    """GPT-2's vocabulary, which takes a second to read."""
    assert shared.is_dir()
    return published_gpt2()


@pytest.fixture
def torchs_own_again() -> Iterator[None]:
    """For tests that choose a library."""
    yield
    use_matmul_library("torch")


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
