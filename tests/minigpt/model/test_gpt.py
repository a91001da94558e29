"""The network: causal, equal with and without its cache, dropout with the right mean, initialised as the book's."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from minigpt.cpu.kernels import Dropout
from minigpt.model.config import ModelConfig
from minigpt.model.gpt import GPT, rotate, rotations
from minigpt.model.init import build_model, initialize
from minigpt.randomness import stream

CONFIG = ModelConfig(context_length=16, width=24, heads=3, layers=2)
VOCABULARY = 50


@pytest.fixture(params=["gpt2", "modern"])
def model(request: pytest.FixtureRequest) -> GPT:
    gpt = build_model(CONFIG.model_copy(update={"architecture": request.param}), VOCABULARY, seed=1)
    with torch.no_grad():
        for weight in gpt.parameters():
            weight.add_(torch.randn(weight.shape, generator=stream(1, "noise")) * 0.3)
    return gpt


def test_a_later_token_changes_no_earlier_logit(model: GPT) -> None:
    tokens = torch.randint(VOCABULARY, (2, 16), generator=stream(1, "tokens"))
    changed = tokens.clone()
    changed[:, 10:] = (changed[:, 10:] + 1) % VOCABULARY
    before, after = model(tokens), model(changed)
    assert before.shape == (2, 16, VOCABULARY)
    torch.testing.assert_close(before[:, :10], after[:, :10])
    assert not torch.allclose(before[:, 10:], after[:, 10:])


def test_attention_with_dropout_rate_zero_is_the_fast_path(model: GPT) -> None:
    tokens = torch.randint(VOCABULARY, (2, 16), generator=stream(1, "tokens"))
    with torch.no_grad():  # where torch's own kernel attends
        expected = model(tokens)
        torch.testing.assert_close(model(tokens, Dropout(0.0, stream(1, "dropout"))), expected)
    torch.testing.assert_close(model(tokens, Dropout(0.0, stream(1, "dropout"))).detach(), expected)
    torch.testing.assert_close(model(tokens).detach(), expected)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_drops_its_share(rate: float) -> None:
    kept = Dropout(rate, stream(1, "dropout", 7))(torch.ones(1000, 999))
    assert kept.mean().item() == pytest.approx(1.0, abs=0.01)
    assert (kept == 0).double().mean().item() == pytest.approx(rate, abs=0.002)
    assert torch.equal(kept, Dropout(rate, stream(1, "dropout", 7))(torch.ones(1000, 999)))
    assert not torch.equal(kept, Dropout(rate, stream(1, "dropout", 8))(torch.ones(1000, 999)))


def test_the_pytorch_initialisation_is_the_books() -> None:
    """nn.Embedding's and nn.Linear's own defaults, drawn from the global generator in the book's order of modules."""
    config = CONFIG.model_copy(update={"initialisation": "pytorch", "qkv_bias": True})
    ours = build_model(config, VOCABULARY, seed=123)
    torch.manual_seed(123)
    c = config.width
    assert torch.equal(ours.token_embedding.weight, nn.Embedding(VOCABULARY, c).weight)
    assert torch.equal(ours.position_embedding.weight, nn.Embedding(config.context_length, c).weight)
    for block in ours.blocks:
        query, key, value = (nn.Linear(c, c) for _ in range(3))
        assert torch.equal(block.attention.qkv.weight, torch.cat([query.weight, key.weight, value.weight]))
        assert torch.equal(block.attention.qkv.bias, torch.cat([query.bias, key.bias, value.bias]))
        for layer, theirs in (
            (block.attention.project, nn.Linear(c, c)),
            (block.expand, nn.Linear(c, 4 * c)),
            (block.contract, nn.Linear(4 * c, c)),
        ):
            assert torch.equal(layer.weight, theirs.weight)
            assert torch.equal(layer.bias, theirs.bias)
    assert torch.equal(ours.head.weight, nn.Linear(c, VOCABULARY, bias=False).weight)


@pytest.mark.parametrize("kind", ["pytorch", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_initialising_again_gives_the_same_bits(kind: str, tied: bool) -> None:
    config = ModelConfig.model_validate({**CONFIG.model_dump(), "initialisation": kind, "tied_head": tied})
    model = build_model(config, VOCABULARY, seed=5)
    before = [weight.clone() for weight in model.parameters()]
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    initialize(model, 5)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert (model.head.weight is model.token_embedding.weight) == tied


@pytest.mark.parametrize("wrong", [{"tied_head": True}, {"qkv_bias": True}, {"width": 9}])
def test_a_modern_shape_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"make width|modern architecture"):
        ModelConfig.model_validate({**CONFIG.model_dump(), "architecture": "modern", **wrong})


def test_rotary_positions_see_only_distances() -> None:
    query, key = torch.randn(2, 8, generator=stream(1, "pair")).unbind()

    def product(first: int, second: int) -> float:
        both = torch.stack([query, key])[:, None, None]  # (2, 1, 1, D)
        turned = [rotate(part[None], rotations(place, 1, 8)) for part, place in zip(both, (first, second), strict=True)]
        return float((turned[0] * turned[1]).sum())

    assert product(3, 1) == pytest.approx(product(13, 11), abs=1e-5)
    assert product(3, 1) != pytest.approx(product(3, 2), abs=1e-3)


def test_every_pair_of_a_head_has_its_turn() -> None:
    """A step of 2 / 98 goes 50 times into 1, by float64."""
    for head_width in range(2, 1024, 2):
        assert rotations(0, 3, head_width).shape == (3, 1, 1, head_width // 2)
