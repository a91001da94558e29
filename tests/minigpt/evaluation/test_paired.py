"""Two models on one text: what is measured, and what of a difference may be chance."""

import math

import pytest
import torch

from minigpt.data.tokens import TOKEN_DTYPE
from minigpt.evaluation.difference import PairedDifference
from minigpt.evaluation.paired import PASSAGES, TextLoss, measure_passages, paired_difference
from minigpt.model.config import ModelConfig
from minigpt.model.gpt import GPT
from minigpt.model.init import build_model
from minigpt.randomness import stream

VOCABULARY_SIZE = 9
ONE_BYTE_EACH = torch.ones(VOCABULARY_SIZE, dtype=torch.int64)


@pytest.fixture(scope="module")
def model() -> GPT:
    shape = ModelConfig(context_length=10, width=8, heads=1, layers=1, initialisation="pytorch")
    return build_model(shape, VOCABULARY_SIZE, seed=1)


def nats_one_by_one(model: GPT, tokens: torch.Tensor) -> list[float]:
    """Of every token but the first, in windows that do not overlap."""
    nats: list[float] = []
    with torch.no_grad():
        for start in range(0, len(tokens) - 1, 10):
            window = tokens[start : start + 11]
            shares = model(window[None, :-1])[0].log_softmax(-1)
            nats += (-shares.gather(1, window[1:, None])).flatten().tolist()
    return nats


@pytest.mark.parametrize("count", [2, 10, 11, 12, 75, 5000])
def test_every_token_but_the_first_is_measured_once(model: GPT, count: int) -> None:
    tokens = torch.randint(VOCABULARY_SIZE, (count,), generator=stream(1, "tokens"))
    found = measure_passages(model, tokens.numpy().astype(TOKEN_DTYPE), ONE_BYTE_EACH, count)
    nats = nats_one_by_one(model, tokens)
    assert found.tokens == len(nats) == count - 1
    assert found.loss == pytest.approx(sum(nats) / (count - 1), rel=1e-5)
    first_bits = math.log2(VOCABULARY_SIZE)
    assert found.bits_per_byte == pytest.approx((sum(nats) / math.log(2) + first_bits) / count, rel=1e-5)


def test_a_token_belongs_to_the_passage_in_which_its_bytes_begin(model: GPT) -> None:
    """Tokens of one, three and seventy bytes, so that many of them reach into the next passage or over it."""
    tokens = torch.randint(3, (400,), generator=stream(1, "tokens"))
    sizes = torch.tensor([1, 3, 70, *[1] * (VOCABULARY_SIZE - 3)])
    text_bytes = int(sizes[tokens].sum())
    found = measure_passages(model, tokens.numpy().astype(TOKEN_DTYPE), sizes, text_bytes)
    bits, begin = [0.0] * PASSAGES, 0
    for token, nats in zip(tokens.tolist(), [math.log(VOCABULARY_SIZE), *nats_one_by_one(model, tokens)], strict=True):
        bits[begin * PASSAGES // text_bytes] += nats / math.log(2)
        begin += int(sizes[token])
    assert found.passage_bits.tolist() == pytest.approx(bits, rel=1e-5)


def reading(passage_bits: torch.Tensor, text_bytes: int = 100 * PASSAGES) -> TextLoss:
    return TextLoss(1.0, tokens=1, text_bytes=text_bytes, passage_bits=passage_bits)


def test_a_difference_that_most_passages_share_is_hardly_chance() -> None:
    noise = torch.randn(PASSAGES, generator=stream(1, "noise"), dtype=torch.float64)
    one, other = reading(300 + 20 * noise), reading(305 + 20 * noise + noise.flip(0))
    found = paired_difference(one, other)
    assert found.bits_per_byte == pytest.approx(0.05 + noise.mean().item() / 100)
    assert found.bits_per_byte == pytest.approx(other.bits_per_byte - one.bits_per_byte)
    assert found.standard_error == pytest.approx(noise.std().item() / 100 / math.sqrt(PASSAGES))
    assert not found.may_be_chance
    assert paired_difference(other, one).bits_per_byte == -found.bits_per_byte


def test_equal_models_do_not_differ() -> None:
    bits = torch.rand(PASSAGES, generator=stream(1, "bits"), dtype=torch.float64)
    assert paired_difference(reading(bits), reading(bits.clone())) == PairedDifference(0.0, 0.0, may_be_chance=True)


@pytest.mark.parametrize("models", [2, 3, 6])
def test_chance_is_seldom_taken_for_anything_else(models: int) -> None:
    """So many models of which none is better, on 2,000 texts: the best of them is compared with the others."""
    drawn = torch.randn(2000, models, PASSAGES, generator=stream(1, "texts"), dtype=torch.float64)
    alarms = 0
    for text in drawn:
        best, *others = sorted(map(reading, text), key=lambda each: each.bits_per_byte)
        alarms += any(not paired_difference(best, other, models).may_be_chance for other in others)
    assert 0.01 < alarms / len(drawn) < 0.07


def test_passages_that_are_like_their_neighbours_tell_less() -> None:
    steps = torch.randn(PASSAGES, generator=stream(1, "alike"), dtype=torch.float64)
    alike = torch.stack([steps[: n + 1].sum() for n in range(PASSAGES)])
    mixed = alike[torch.randperm(PASSAGES, generator=stream(1, "order"))]
    level = reading(torch.zeros(PASSAGES, dtype=torch.float64))
    assert (
        paired_difference(level, reading(alike)).standard_error
        > 1.4 * paired_difference(level, reading(mixed)).standard_error
    )
