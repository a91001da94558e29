"""The arithmetic behind the bench's tables: what a step multiplies, and when a target is met."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench import ablations, limit, quality, shape
from bench.measure import Spread, ratio
from bench.results import Row
from minigpt.cost.flops import flops_per_token_palm
from minigpt.cpu.kernels import Dropout
from minigpt.data.sources import python_topics
from minigpt.model.gpt import count_multiplied_parameters, empty_model


def test_the_limit_multiplies_what_the_model_does() -> None:
    model = empty_model(shape.verdict_model_config(0.0), shape.VOCABULARY_SIZE)
    vectors = sum(weight.numel() for weight in model.parameters() if weight.dim() == 1)
    tokens = shape.BATCH_SIZE * shape.CONTEXT_LENGTH
    head_width = shape.WIDTH // shape.HEADS
    matrices = count_multiplied_parameters(model) - vectors
    whole = flops_per_token_palm(matrices, shape.LAYERS, shape.HEADS, head_width, shape.CONTEXT_LENGTH) * tokens
    attention = 12 * shape.LAYERS * shape.WIDTH * shape.CONTEXT_LENGTH * tokens
    causal = (shape.CONTEXT_LENGTH + 1) / (2 * shape.CONTEXT_LENGTH)
    counted = sum(product.flops for product in limit.products())
    assert counted == pytest.approx(whole - attention * (1 - causal), rel=1e-12)


def test_the_ablation_of_attention_without_dropout_drops_attention() -> None:
    dropout = Dropout(0.1, torch.Generator())
    assert ablations.DroppingPass(dropout).attention_dropout is dropout


@pytest.mark.slow
@pytest.mark.parametrize("choice", ablations.CHOICES | ablations.READING)
def test_what_is_switched_off_leaves_a_recipe_that_learns(choice: str, tmp_path: Path) -> None:
    """Its one step behind the warm-up is enough, for what fails is how a choice is switched off."""
    text = tmp_path / "text"
    text.write_bytes(python_topics())
    command = [sys.executable, "-m", "bench.ablations", choice, "0.1", str(text), "123", "21"]
    result = subprocess.run(command, cwd=Path(ablations.__file__).parents[1], capture_output=True, check=True)
    assert 1.0 < json.loads(result.stdout)["bits_per_byte"] < 7.0


def test_a_target_is_judged_on_the_figure_and_not_on_what_is_shown() -> None:
    assert Row.at_most("", 1.3001, 1.3).met is False
    assert Row.at_most("", Spread(1.3, 1.2, 1.9), 1.3).met is True
    assert Row.at_least("", 0.8499, 0.85).met is False
    assert Row.at_least("", math.nan, 0.85).met is False
    assert Row.at_least("", 2.0, None).met is None


def test_a_ratio_is_of_all_rounds_and_its_spread_of_each() -> None:
    assert ratio([[2.0, 4.0], [3.0, 3.0]], [[1.0, 1.0], [2.0, 2.0]]) == Spread(3.0 / 1.5, 1.5, 3.0)


def test_curves_count_only_what_was_measured_in_time() -> None:
    points = [(25, 1.0, 3.0), (50, 2.0, 2.5), (75, 3.0, 2.6)]
    assert quality.seconds_to(points, 2.55) == 2.0
    assert quality.seconds_to(points, 2.4) == math.inf
    assert quality.bits_at(points, 2.9) == 2.5
    assert quality.bits_at(points, 0.9) == math.inf


def test_nanogpts_schedule() -> None:
    assert quality.learning_rate_at(0) == pytest.approx(1e-3 / 101)
    assert quality.learning_rate_at(100) == 1e-3
    assert quality.learning_rate_at(1050) == pytest.approx(5.5e-4)
