"""The gradient of few rows is that of the whole table, step after step."""

import pytest
import torch

from minigpt.data.tokens import TOKEN_DTYPE
from minigpt.data.windows import Windows
from minigpt.model.config import ModelConfig
from minigpt.model.gpt import GPT
from minigpt.model.init import build_model
from minigpt.randomness import stream
from minigpt.training import gradients
from minigpt.training.config import TrainingConfig
from minigpt.training.gradients import ROWS_PER_TOKEN
from minigpt.training.loop import DivergedError, train

VOCABULARY = 500
MODEL = ModelConfig(context_length=16, width=16, heads=2, layers=2)
WINDOWS = Windows(torch.randint(VOCABULARY, (800,), generator=stream(1, "t")).numpy().astype(TOKEN_DTYPE), 16, 16)
CONFIG = TrainingConfig(batch_size=4, max_steps=6, learning_rate=0.1, schedule="constant", gradient_clip_norm=0.2)


def model_of(architecture: str = "gpt2", tied_head: bool = False) -> GPT:
    return build_model(
        MODEL.model_copy(update={"architecture": architecture, "tied_head": tied_head}), VOCABULARY, seed=3
    )


@pytest.mark.parametrize("architecture", ["gpt2", "modern"])
@pytest.mark.parametrize("passes", [1, 3])
def test_each_steps_gradient_is_that_of_the_whole_table(
    monkeypatch: pytest.MonkeyPatch, architecture: str, passes: int
) -> None:
    config = CONFIG.model_copy(update={"gradient_accumulation_steps": passes})
    whole, few = model_of(architecture), model_of(architecture)
    steps = []
    for model, rows_per_token in ((whole, ROWS_PER_TOKEN), (few, 0)):
        monkeypatch.setattr(gradients, "ROWS_PER_TOKEN", rows_per_token)
        optimizer = torch.optim.SGD(model.parameters(), lr=config.learning_rate)
        running = train(model, [optimizer], WINDOWS, config, seed=3)
        steps.append([(metrics, gradient_of(model)) for metrics in running])
    assert (whole.token_embedding.sparse, few.token_embedding.sparse) == (False, True)
    for (metrics, gradient), (few_metrics, few_gradient) in zip(*steps, strict=True):
        assert few_metrics.loss == pytest.approx(metrics.loss, rel=1e-6)
        assert few_metrics.gradient_norm == pytest.approx(metrics.gradient_norm, rel=1e-6)
        assert metrics.gradient_norm > CONFIG.gradient_clip_norm  # type: ignore[operator]
        torch.testing.assert_close(few_gradient, gradient)
    # Or nothing would be told of rows that go back to zero: the last steps are of other tokens than the first.
    assert 0 < few_gradient.any(dim=1).sum() < VOCABULARY / 2


def test_more_tokens_a_step_are_looked_up_as_ever() -> None:
    model = build_model(MODEL, 16 * 4 * ROWS_PER_TOKEN, seed=3)
    sparse = []
    for batch_size in (4, 5, 4):
        config = CONFIG.model_copy(update={"batch_size": batch_size})
        list(train(model, [torch.optim.SGD(model.parameters(), lr=0.1)], WINDOWS, config, seed=3))
        sparse.append(model.token_embedding.sparse)
    assert sparse == [True, False, True]


@pytest.mark.parametrize("wrong", [torch.inf, torch.nan])
def test_a_gradient_that_is_no_number_stops_before_the_weights_change(
    monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    monkeypatch.setattr(gradients, "ROWS_PER_TOKEN", 0)
    model = model_of()
    running = train(model, [torch.optim.SGD(model.parameters(), lr=0.1)], WINDOWS, CONFIG, seed=3)
    next(running)
    before = [weight.detach().clone() for weight in model.parameters()]
    model.token_embedding.weight.register_hook(lambda gradient: gradient * wrong)
    with pytest.raises(DivergedError, match="step 2: the gradient norm is"):
        next(running)
    assert all(torch.equal(weight, kept) for weight, kept in zip(model.parameters(), before, strict=True))


def gradient_of(model: GPT) -> torch.Tensor:
    gradient = model.token_embedding.weight.grad
    assert gradient is not None
    return gradient.clone()


def test_a_head_that_shares_the_table_needs_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "ROWS_PER_TOKEN", 0)
    model = model_of(tied_head=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert len(list(train(model, [optimizer], WINDOWS, CONFIG, seed=3))) == CONFIG.max_steps
    assert gradient_of(model).any(dim=1).all()
