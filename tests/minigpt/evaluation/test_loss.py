"""What is measured, and what is said about it."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minigpt.data.tokens import TOKEN_DTYPE
from minigpt.data.windows import Windows
from minigpt.evaluation.diagnosis import diagnose, diagnosis_findings
from minigpt.evaluation.loss import Evaluation, evaluate
from minigpt.evaluation.memorization import longest_copy
from minigpt.evaluation.perplexity import perplexity
from minigpt.io.records import EvaluationRecord
from minigpt.model.config import ModelConfig
from minigpt.model.init import build_model
from minigpt.randomness import stream
from tests import records


def test_a_short_last_batch_counts_by_its_tokens() -> None:
    tokens = torch.randint(9, (71,), generator=stream(1, "tokens")).numpy().astype(TOKEN_DTYPE)
    windows = Windows(tokens, 10, 10)
    model = build_model(ModelConfig(context_length=10, width=8, heads=1, layers=1, initialisation="pytorch"), 9, seed=1)
    inputs, targets = windows.batch(np.arange(len(windows)))
    with torch.no_grad():
        losses = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="none")
    found = evaluate(model, windows.in_order(batch_size=5), torch.ones(9, dtype=torch.int64))
    assert found.loss == pytest.approx(losses.mean().item(), rel=1e-6)
    mean_of_means = (losses[:50].mean() + losses[50:].mean()).item() / 2
    assert abs(found.loss - mean_of_means) > 1e-3
    assert found.tokens == found.text_bytes == 70


def test_perplexity_and_bits_per_byte() -> None:
    assert perplexity(10.7940) == pytest.approx(48_727.6, abs=0.05)
    assert perplexity(1e6) == math.inf
    assert Evaluation(math.log(2), tokens=10, text_bytes=40).bits_per_byte == pytest.approx(0.25)


def curve(*val: float, train: float = 3.0) -> list[EvaluationRecord]:
    return [records.evaluation(10 * n, train, loss) for n, loss in enumerate(val)]


def said_of(evaluations: list[EvaluationRecord], status: str, kept_step: int) -> str:
    return " ".join(finding.sentence for finding in diagnosis_findings(evaluations, status, kept_step))


@pytest.mark.parametrize(
    ("val", "since"),
    [
        ((5.0, 4.0, 4.5), 10),
        ((5.0, 4.0, 4.005), None),
        ((5.0, 4.0, 3.9), None),
        ((5.0, 4.0, 4.5, 3.995, 4.5), 30),
        ((5.0,), None),
    ],
)
def test_over_fitting_begins_at_the_lowest_loss_that_the_curve_has_left(val: tuple[float, ...], since: int) -> None:
    found = diagnose(curve(*val))
    assert found.overfitting_since_step == since
    assert found.best_val_loss == min(val)


def test_the_gap_is_told_from_its_first_step() -> None:
    assert diagnose(curve(5.0, 3.9, 4.1, 4.2)).gap_since_step == 0
    assert diagnose(curve(3.5, 3.9, 4.1, 4.2)).gap_since_step == 20
    assert "At step 0, though not at every" in said_of(curve(5.0, 3.9, 4.1, 4.2), "completed", 30)
    assert "From step 20 on" in said_of(curve(3.5, 3.9, 4.1, 4.2), "completed", 30)


def test_words_name_the_step_and_the_way_out() -> None:
    said = said_of(curve(5.0, 4.0, 4.5), "completed", 20)
    assert "Over-fitting since step 10" in said
    assert "best checkpoint" in said
    assert "diverged" in said_of(curve(5.0), "diverged", 0)
    assert "No over-fitting" in said_of(curve(5.0, 4.0), "completed", 10)


def test_the_longest_copy_is_counted_in_tokens() -> None:
    assert longest_copy([9, 1, 2, 3, 9], [0, 1, 2, 3, 4]) == 3
    assert longest_copy([55_296, 56_320], [56_320, 55_296]) == 1
    assert longest_copy([], [1]) == 0
