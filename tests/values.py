"""Values that a run's folder keeps, for tests that need a complete one."""

from dataclasses import replace
from typing import Any

from minigpt.cost.config import CostConfig
from minigpt.cost.price import ActualCost, make_quote
from tasks.runs.provenance import CorpusFacts, Facts, TokenCounts
from tasks.runs.result import Cost, Result, Samples

QUOTE = make_quote(
    parameters=1,
    flops_per_token=6.0,
    flops_formula="6 N",
    step_seconds=[1.0],
    steps=7,
    tokens_per_step=1,
    other_seconds=0.0,
    config=CostConfig(),
)
ACTUAL = ActualCost(seconds=60.0, usd=0.5, kwh=0.1, co2_kg=0.05, quote_error_fraction=0.0)
FACTS = Facts(
    packages={"torch": "2.13.0"},
    code_sha256="c",
    lock_sha256=None,
    switches={},
    git_commit=None,
    git_dirty=None,
    corpus=CorpusFacts("0" * 64, 1, "text.txt"),
    tokens=TokenCounts(1, 1),
    tokenizer_sha256="",
    windows={},
)
RESULT = Result(
    run_id="1" * 32,
    flow_run_id=None,
    status="completed",
    steps=7,
    epochs=1.0,
    training_seconds=60.0,
    tokens_per_second=1.0,
    train_loss=1.0,
    val_loss=1.0,
    perplexity=1.0,
    bits_per_byte=1.0,
    xz_bits_per_byte=None,
    xz_after_training_bits_per_byte=None,
    best_step=7,
    best_val_loss=1.0,
    best_bits_per_byte=1.0,
    val_windows=1,
    val_windows_measured_in_training=1,
    held_out=None,
    val_copied_share=None,
    overfitting_since_step=None,
    diagnosis="",
    parameters=1,
    corpus_sha256="",
    weights_sha256="",
    curve_sha256="",
    cost=Cost(QUOTE, ACTUAL),
    samples=Samples("", (), None, None, ()),
    words=[],
    run_dir="",
)


def result_with(**changes: Any) -> Result:
    return RESULT.model_copy(update=changes)


def facts_of(sha256: str, size_bytes: int, **changes: Any) -> Facts:
    """Of a run of a text."""
    corpus = replace(FACTS.corpus, sha256=sha256, size_bytes=size_bytes)
    return FACTS.model_copy(update={"corpus": corpus, **changes})
