"""The two presets that people run, whole: what README says of them. They take minutes and want a quiet machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
VERDICT = "corpora/the-verdict.txt"


@pytest.fixture(scope="module")
def quickstart(workplace: Any) -> dict[str, Any]:
    result: dict[str, Any] = workplace.json("run", timeout_seconds=850)
    return result


def test_quickstart_learns_more_than_xz_knows(quickstart: dict[str, Any]) -> None:
    assert quickstart["status"] == "completed"
    assert quickstart["bits_per_byte"] < 0.85 * quickstart["xz_bits_per_byte"]


def test_a_rerun_of_quickstart_is_identical(quickstart: dict[str, Any], workplace: Any) -> None:
    again = workplace.json("rerun", quickstart["run_id"], timeout_seconds=850)
    assert again["rerun"]["identical"]
    assert again["weights_sha256"] == quickstart["weights_sha256"]


def test_verdict_is_the_books_job(shared: Path, new_workplace: Callable[[], Any]) -> None:
    """Losses and sizes of the book's chapter 5, on the book's text."""
    place = new_workplace()
    result = place.json("run", "verdict", "--set", f"corpus.source={shared / VERDICT}", timeout_seconds=1700)
    assert result["parameters"] == 162_419_712
    assert result["steps"] == 90
    assert result["train_loss"] < 1
    assert 5.9 < result["best_val_loss"] < 6.4
    assert result["best_step"] < 75
    assert result["overfitting_since_step"] is not None
    assert result["samples"]["longest_copied_tokens"] >= 15
    assert any(sentence.startswith("Memorization: ") for sentence in result["words"])
