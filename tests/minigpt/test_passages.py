"""Two models on one text: what is measured, and what of a difference is chance."""

import io
import math

import pytest
import torch

from minigpt.dataset import TOKEN_DTYPE
from minigpt.evaluation import Evaluation
from minigpt.initialisation import build
from minigpt.model import GPT, ModelConfig
from minigpt.passages import PASSAGES, QUOTED_BYTES, Reading, difference, quotes, read_tokens
from minigpt.randomness import stream

VOCABULARY_SIZE = 9
ONE_BYTE_EACH = torch.ones(VOCABULARY_SIZE, dtype=torch.int64)


@pytest.fixture(scope="module")
def model() -> GPT:
    shape = ModelConfig(context_length=10, width=8, heads=1, layers=1, initialisation="pytorch")
    return build(shape, VOCABULARY_SIZE, seed=1)


@pytest.mark.parametrize("count", [2, 10, 11, 12, 75, 5000])
def test_every_token_but_the_first_is_measured_once(model: GPT, count: int) -> None:
    tokens = torch.randint(VOCABULARY_SIZE, (count,), generator=stream(1, "tokens"))
    found = read_tokens(model, tokens.numpy().astype(TOKEN_DTYPE), ONE_BYTE_EACH)
    nats = 0.0
    with torch.no_grad():
        for start in range(0, count - 1, 10):
            window = tokens[start : start + 11]
            nats -= model(window[None, :-1])[0].log_softmax(-1).gather(1, window[1:, None]).sum().item()
    assert found.evaluation.tokens == found.evaluation.text_bytes == count - 1
    assert found.evaluation.loss == pytest.approx(nats / (count - 1), rel=1e-5)
    assert found.passage_bits.sum().item() == pytest.approx(nats / math.log(2), rel=1e-5)


def test_a_token_belongs_to_the_passage_in_which_its_bytes_begin(model: GPT) -> None:
    """Another tokenizer's tokens, of other lengths, so that passages have other numbers of them."""
    tokens = torch.tensor([0] * 320 + [1] * 32)  # 640 bytes, a quarter of each passage's 80 in one token behind them
    sizes = torch.tensor([1, 70, *[1] * 7])
    found = read_tokens(model, tokens.numpy().astype(TOKEN_DTYPE), sizes)
    size = 320 + 32 * 70
    assert found.evaluation.text_bytes == size - 1
    begins = [*range(320), *(320 + 70 * number for number in range(32))][1:]
    counts = torch.tensor([sum(begin * PASSAGES // size == passage for begin in begins) for passage in range(PASSAGES)])
    assert counts.tolist()[:5] == [79, 80, 80, 80, 2]
    bits = Evaluation(found.evaluation.loss, len(begins), 1).bits_per_byte
    assert found.passage_bits.sum().item() == pytest.approx(bits)
    assert [bool(b) for b in found.passage_bits] == [bool(c) for c in counts]


def reading(passage_bits: torch.Tensor) -> Reading:
    return Reading(Evaluation(1.0, tokens=1, text_bytes=100 * PASSAGES), passage_bits)


def test_a_difference_that_most_passages_share_is_no_chance() -> None:
    noise = torch.randn(PASSAGES, generator=stream(1, "noise"), dtype=torch.float64)
    one, other = reading(300 + 20 * noise), reading(305 + 20 * noise + noise.flip(0))
    found = difference(one, other)
    assert found.bits_per_byte == pytest.approx(0.05 + noise.mean().item() / 100)
    assert found.standard_error == pytest.approx(noise.std().item() / 100 / math.sqrt(PASSAGES))
    assert not found.is_chance
    assert difference(other, one).bits_per_byte == -found.bits_per_byte


def test_chance_is_called_chance_and_seldom_anything_else() -> None:
    """Two models of which neither is better, on 2,000 texts: with 32 passages 5.4 % lie beyond two standard errors."""
    noise = torch.randn(2000, PASSAGES, generator=stream(1, "texts"), dtype=torch.float64)
    chance = [difference(reading(torch.zeros(PASSAGES)), reading(row)).is_chance for row in noise]
    assert 0.92 < sum(chance) / len(chance) < 0.97


def test_each_passage_is_quoted_from_its_beginning() -> None:
    text = bytes(number % 251 for number in range(10_007))
    found = list(quotes(io.BytesIO(text)))
    assert len(found) == PASSAGES
    assert all(len(quote) == QUOTED_BYTES for quote in found)
    assert found[0] == text[:QUOTED_BYTES]
    assert found[-1] == text[31 * 10_007 // 32 :][:QUOTED_BYTES]
