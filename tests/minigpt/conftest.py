"""What tests of the library share."""

from pathlib import Path

import pytest

from minigpt import tokenizer
from minigpt.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def gpt2(shared: Path) -> Tokenizer:
    """GPT-2's vocabulary, which takes a second to read."""
    assert shared.is_dir()
    return tokenizer.published_gpt2()
