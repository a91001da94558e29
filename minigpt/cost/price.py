"""The cost of a training: a quote before the first step, a bill after the last, an estimate without training.

All prices, powers and peaks come from the dated table in minigpt.cost.config, and FLOPs per token from
minigpt.cost.flops.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from minigpt.cost.config import ASSUMPTIONS_DATE, HARDWARE, CostConfig
from minigpt.cost.flops import flops_per_token_6n

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Bill:
    """The cost of some time on some devices, with the assumptions it rests on."""

    seconds: float
    devices: int
    usd: float
    kwh: float
    co2_kg: float
    hardware: str
    usd_per_hour: float
    watts: float
    pue: float
    grid_kg_per_kwh: float
    assumptions_date: str


@dataclass(frozen=True)
class Quote:
    """A training's price before its first step."""

    parameters: int
    flops_per_token: float
    flops_formula: str
    tokens: int
    total_flops: float
    seconds: float
    seconds_low: float
    seconds_high: float
    bill: Bill


@dataclass(frozen=True)
class ActualCost:
    """The cost of a finished training, and the quote's error as a fraction, positive if it was too high."""

    seconds: float
    usd: float
    kwh: float
    co2_kg: float
    quote_error_fraction: float


def make_bill(seconds: float, config: CostConfig, devices: int = 1) -> Bill:
    table = HARDWARE[config.hardware]
    usd_per_hour = table.usd_per_hour if config.usd_per_hour is None else config.usd_per_hour
    watts = table.watts if config.watts is None else config.watts
    device_hours = seconds * devices / SECONDS_PER_HOUR
    kwh = device_hours * watts / 1000 * config.pue
    return Bill(
        seconds=seconds,
        devices=devices,
        usd=device_hours * usd_per_hour,
        kwh=kwh,
        co2_kg=kwh * config.grid_kg_per_kwh,
        hardware=config.hardware,
        usd_per_hour=usd_per_hour,
        watts=watts,
        pue=config.pue,
        grid_kg_per_kwh=config.grid_kg_per_kwh,
        assumptions_date=ASSUMPTIONS_DATE,
    )


def make_quote(
    *,
    parameters: int,
    flops_per_token: float,
    flops_formula: str,
    step_seconds: Sequence[float],
    steps: int,
    tokens_per_step: int,
    other_seconds: float,
    config: CostConfig,
) -> Quote:
    """A quote from a few timed steps; other_seconds is the time of all evaluations, samples and checkpoints.

    The range is what the fastest and the slowest quarter of the timed steps give, and at least 5 % either way.
    """
    ordered = sorted(step_seconds)
    quarter = max(1, len(ordered) // 4)
    seconds = (
        statistics.fmean(ordered) * steps + other_seconds
    )  # the mean, slow steps included, since the total is a sum
    low = statistics.fmean(ordered[:quarter]) * steps + other_seconds
    high = statistics.fmean(ordered[-quarter:]) * steps + other_seconds
    tokens = steps * tokens_per_step
    return Quote(
        parameters=parameters,
        flops_per_token=flops_per_token,
        flops_formula=flops_formula,
        tokens=tokens,
        total_flops=flops_per_token * tokens,
        seconds=seconds,
        seconds_low=min(low, 0.95 * seconds),
        seconds_high=max(high, 1.05 * seconds),
        bill=make_bill(seconds, config),
    )


def estimate_bill(parameters: float, tokens: float, config: CostConfig, mfu: float, devices: int = 1) -> Bill:
    """The bill of 6 N D floating point operations at the fraction `mfu` of the devices' peak."""
    per_second = HARDWARE[config.hardware].peak_flops_per_second * mfu * devices
    return make_bill(flops_per_token_6n(parameters) * tokens / per_second, config, devices)
