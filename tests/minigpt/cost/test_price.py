"""Costs against published tables (shared/ORACLES.md, section Arithmetic)."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from minigpt.cost.config import GRID_KG_PER_KWH, HARDWARE, CostConfig
from minigpt.cost.flops import (
    chinchilla_tokens,
    flops_per_token_6n,
    flops_per_token_palm,
    gpt2_parameter_count,
    model_flops_utilization,
)
from minigpt.cost.price import estimate_bill, make_bill, make_quote
from minigpt.cost.published import PUBLISHED_RUNS

SIZES = [(768, 12), (1024, 24), (1280, 36), (1600, 48)]


@pytest.mark.parametrize(
    ("qkv_bias", "tied", "expected"),
    [
        (True, True, [124_439_808, 354_823_168, 774_030_080, 1_557_611_200]),
        (False, False, [163_009_536, 406_212_608, 838_220_800, 1_637_792_000]),
    ],
)
def test_parameters_of_gpt2(qkv_bias: bool, tied: bool, expected: list[int]) -> None:
    found = [gpt2_parameter_count(50_257, 1024, c, n, qkv_bias=qkv_bias, tied_head=tied) for c, n in SIZES]
    assert found == expected


def test_parameters_of_the_other_forms() -> None:
    assert gpt2_parameter_count(50_257, 1024, 768, 12, qkv_bias=False, tied_head=True) == 124_412_160
    assert gpt2_parameter_count(50_257, 1024, 768, 12, qkv_bias=False, tied_head=True, bias=False) == 124_337_664
    assert gpt2_parameter_count(50_257, 256, 768, 12, qkv_bias=False, tied_head=False) == 162_419_712


def test_flops_of_a_sequence_by_matrices_alone_and_with_norms() -> None:
    matrices = 12 * 12 * 768 * 768 + 50_257 * 768
    assert 1024 * flops_per_token_palm(matrices, 12, 12, 64, 1024) == 874_944_921_600
    assert 1024 * flops_per_token_palm(123_551_232, 12, 12, 64, 1024) == 875_062_886_400


@pytest.mark.parametrize(
    ("parameters", "flops"), [(125.2e6, 2.25e20), (1.32e9, 2.38e21), (12.85e9, 2.31e22), (174.6e9, 3.14e23)]
)
def test_gpt3_table_d1(parameters: float, flops: float) -> None:
    assert float(f"{flops_per_token_6n(parameters) * 300e9:.2e}") == flops


def test_mfu_of_palm() -> None:
    with_attention = flops_per_token_palm(540e9, 118, 48, 256, 2048)
    assert model_flops_utilization(238.3e3, with_attention, 6144, 275e12) == pytest.approx(0.462, abs=5e-4)
    assert model_flops_utilization(238.3e3, flops_per_token_6n(540e9), 6144, 275e12) == pytest.approx(0.457, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "hours", "tonnes"),
    [("7b", 184_320, 31.22), ("13b", 368_640, 62.44), ("34b", 1_038_336, 153.90), ("70b", 1_720_320, 291.42)],
)
def test_llama_2_hours_and_carbon(name: str, hours: float, tonnes: float) -> None:
    run = PUBLISHED_RUNS[f"llama-2-{name}"]
    assert run.device_hours == hours
    assert run.bill().co2_kg / 1000 == pytest.approx(tonnes, abs=0.01)


def test_llama_2_in_all_and_in_money() -> None:
    assert sum(run.bill().co2_kg for run in PUBLISHED_RUNS.values()) / 1000 == pytest.approx(539, abs=0.5)
    assert PUBLISHED_RUNS["llama-2-7b"].bill().usd == pytest.approx(691_200)


def test_chinchilla_tokens() -> None:
    assert chinchilla_tokens(124e6) == pytest.approx(2.292e9, rel=1e-3)


def test_the_hours_and_the_implied_mfu_of_llama_2_say_the_same() -> None:
    """6 N D / (hours x peak) is 39 % for the 7B; an estimate at that share gives its published hours back."""
    run = PUBLISHED_RUNS["llama-2-7b"]
    assert run.mfu() == pytest.approx(0.3906, abs=1e-4)
    bill = estimate_bill(run.parameters, run.tokens, CostConfig(hardware="a100"), run.mfu(), devices=8)
    assert bill.seconds * 8 / 3600 == pytest.approx(184_320)
    assert bill.usd == pytest.approx(691_200)


def test_what_the_config_gives_goes_before_the_table() -> None:
    config = CostConfig(hardware="h100", usd_per_hour=2.0, watts=500.0, pue=1.5, grid_kg_per_kwh=0.1)
    bill = make_bill(7200, config, devices=3)
    assert (bill.usd, bill.kwh, bill.co2_kg) == pytest.approx((12.0, 4.5, 0.45))
    assert make_bill(7200, CostConfig(usd_per_hour=0.0, watts=0.0)).usd == 0  # nought is a price, not a missing one


@pytest.mark.parametrize("wrong", [{"pue": 0.9}, {"grid_kg_per_kwh": 5.1}, {"watts": -1.0}, {"usd_per_hour": math.inf}])
def test_prices_out_of_bounds_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        CostConfig.model_validate(wrong)


def test_unknown_hardware_is_refused_with_the_known() -> None:
    with pytest.raises(ValidationError, match=f"'abacus' is unknown; take one of {', '.join(HARDWARE)}"):
        CostConfig(hardware="abacus")


@given(st.floats(0, 1e9), st.integers(1, 64), st.floats(0, 100))
def test_a_bill_is_linear_in_time_and_devices(seconds: float, devices: int, factor: float) -> None:
    one, many = make_bill(seconds, CostConfig()), make_bill(seconds, CostConfig(), devices)
    assert many.usd == pytest.approx(devices * one.usd)
    assert many.co2_kg == pytest.approx(many.kwh * GRID_KG_PER_KWH)
    longer = make_bill(factor * seconds, CostConfig())
    assert (longer.usd, longer.kwh) == pytest.approx((factor * one.usd, factor * one.kwh))


@given(st.lists(st.floats(1e-4, 1e3), min_size=1), st.integers(1, 10**6), st.floats(0, 1e4))
def test_a_quote_lies_in_its_range(step_seconds: list[float], steps: int, other: float) -> None:
    quote = make_quote(
        parameters=1,
        flops_per_token=6.0,
        flops_formula="6 N",
        step_seconds=step_seconds,
        steps=steps,
        tokens_per_step=2,
        other_seconds=other,
        config=CostConfig(),
    )
    assert quote.seconds_low <= 0.95 * quote.seconds < 1.05 * quote.seconds <= quote.seconds_high
    assert quote.bill.seconds == quote.seconds


def test_a_cpu_is_priced_by_the_cores_that_train() -> None:
    of_two, of_sixteen = (CostConfig().resolved(cores) for cores in (2, 16))
    assert (of_two.usd_per_hour, of_two.watts) == (0.10, 20.0)
    assert (of_sixteen.usd_per_hour, of_sixteen.watts) == (pytest.approx(0.80), 160.0)
    assert CostConfig(usd_per_hour=3.0).resolved(16).usd_per_hour == 3.0  # the user's is the machine's
    assert CostConfig(hardware="a100").resolved(16) == CostConfig(hardware="a100")


def test_a_quote_is_the_mean_step_times_the_steps_and_the_rest() -> None:
    quote = make_quote(
        parameters=1,
        flops_per_token=6.0,
        flops_formula="6 N",
        step_seconds=[1, 2, 3, 6],
        steps=10,
        tokens_per_step=2,
        other_seconds=5,
        config=CostConfig(),
    )
    assert (quote.seconds_low, quote.seconds, quote.seconds_high) == (15, 35, 65)
    assert (quote.tokens, quote.total_flops) == (20, 120)
