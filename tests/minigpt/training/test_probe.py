"""The steps for the quote: as many as fit, and not a bit of the model is another one behind them."""

import pytest
import torch

from minigpt.model.init import build_model
from minigpt.training import probe as probing
from minigpt.training.probe import WARM_UP_STEPS, probe
from tests.minigpt.training.test_loop import CONFIG, RECIPES, WINDOWS


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_model_has_learnt_nothing_behind_the_steps_for_the_quote(
    recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, training = RECIPES[recipe]
    probed, untouched = (build_model(config, 64, seed=1) for _ in range(2))
    for model in (probed, untouched):  # a head that begins at zero lets no gradient through
        torch.nn.init.normal_(model.head.weight, std=0.02, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr(probing, "SECONDS", 600.0)
    seconds = probe(probed, WINDOWS, training, seed=1)
    assert len(seconds) == training.max_steps - WARM_UP_STEPS
    assert min(seconds) > 0
    for weight, other in zip(probed.parameters(), untouched.parameters(), strict=True):
        assert weight.grad is not None
        assert torch.equal(weight.view(torch.int32), other.view(torch.int32))


def test_what_cannot_be_trained_has_a_price_all_the_same() -> None:
    model = build_model(RECIPES["gpt2"][0], 64, seed=1)
    torch.nn.init.constant_(model.head.weight, torch.inf)
    assert len(probe(model, WINDOWS, CONFIG, seed=1)) == 1


def test_the_steps_for_the_quote_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "SECONDS", 0.0)
    model = build_model(RECIPES["gpt2"][0], 64, seed=1)
    assert len(probe(model, WINDOWS, CONFIG, seed=1)) == 1
