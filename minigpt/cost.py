"""What a training costs: a quote before the first step, a bill after the last, an estimate without either.

Every assumption stands in one dated table. FLOPs per token come in two usual forms: 6N (Kaplan et al. 2020, section
2.1; GPT-3, table D.1) counts each parameter's multiplication and addition, once forward and twice backward; PaLM's
(Chowdhery et al. 2022, appendix B) adds the products of attention, 12 L H Q T.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

from pydantic import Field, field_validator

from minigpt.config import Part

ASSUMPTIONS_DATE = "2026-11-24"

# Llama 2 (Touvron et al. 2023, section 2.2.1): power usage efficiency, and the grid that its table 2 implies.
PUE = 1.1
GRID_KG_PER_KWH = 0.385

SECONDS_PER_HOUR = 3600.0
PALM_FORMULA = "6 N + 12 L H Q T (PaLM, appendix B; N without embeddings that are only looked up)"
SIX_N_FORMULA = "6 N (GPT-3, table D.1)"


@dataclass(frozen=True)
class Hardware:
    """One device: its price, its power, and its peak in dense bf16 (a CPU's in fp32)."""

    usd_per_hour: float
    watts: float
    peak_flops_per_second: float
    source: str


CPU, CPU_CORES = "cpu-2core", 2
HARDWARE = {
    CPU: Hardware(0.10, 20.0, 2.0e11, "assumed: two cloud vCPU at $0.05 an hour and 10 W each; peak of AVX-512"),
    "v100": Hardware(3.06, 300.0, 1.25e14, "AWS p3.2xlarge on demand, not checked; NVIDIA V100 SXM2 data sheet (fp16)"),
    "a100": Hardware(3.75, 400.0, 3.12e14, "$30 an hour for 8, as the book has it; NVIDIA A100 SXM data sheet"),
    "l4": Hardware(0.71, 72.0, 1.21e14, "GCP g2-standard-4 on demand, not checked; NVIDIA L4 data sheet (dense)"),
    "h100": Hardware(
        6.88,
        700.0,
        9.89e14,
        "AWS p5.48xlarge / 8 after its cut of June 2025 (98.32 less 44 %); NVIDIA H100 SXM data sheet",
    ),
    "tpu-v4": Hardware(3.22, 192.0, 2.75e14, "GCP's list of August 2022; Cloud TPU v4 docs (maximum power)"),
}


class CostConfig(Part):
    """What an hour of the machine costs, in money, power and carbon dioxide."""

    hardware: str = CPU
    """The kind of machine, a row of the table of assumptions."""
    usd_per_hour: float | None = Field(None, ge=0.0, le=1e6)
    """Price of one device for an hour, in dollars; null takes the table's, a CPU's for as many cores as train."""
    watts: float | None = Field(None, ge=0.0, le=1e6)
    """Power of one device, in watts; null takes the table's, a CPU's for as many cores as train."""
    pue: float = Field(PUE, ge=1.0, le=5.0)
    """Power usage effectiveness: power of the whole data centre over that of its machines."""
    grid_kg_per_kwh: float = Field(GRID_KG_PER_KWH, ge=0.0, le=5.0)
    """Carbon dioxide of the grid, in kg for each kWh."""

    @field_validator("hardware")
    @classmethod
    def hardware_is_known(cls, name: str) -> str:
        if name not in HARDWARE:
            raise ValueError(f"hardware {name!r} is none of {', '.join(HARDWARE)}; take one of them and set its price")
        return name

    def resolved(self, cores: int) -> "CostConfig":
        """The same with the price and the power of so many cores filled in, if it is a CPU that is paid for."""
        if self.hardware != CPU:
            return self
        table, share = HARDWARE[CPU], cores / CPU_CORES
        usd_per_hour = table.usd_per_hour * share if self.usd_per_hour is None else self.usd_per_hour
        watts = table.watts * share if self.watts is None else self.watts
        return self.model_copy(update={"usd_per_hour": usd_per_hour, "watts": watts})


@dataclass(frozen=True)
class Bill:
    """What a stretch of time on some devices costs, with the assumptions behind it."""

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


def bill(seconds: float, config: CostConfig, devices: int = 1) -> Bill:
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


def quote(
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
    """A quote from a few timed steps; other_seconds is what evaluations, samples and checkpoints take together.

    The range is what the fastest and the slowest quarter of the timed steps give, and at least 5 % either way.
    """
    ordered = sorted(step_seconds)
    quarter = max(1, len(ordered) // 4)
    seconds = statistics.fmean(ordered) * steps + other_seconds  # of a sum the mean tells, slow steps included
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
        bill=bill(seconds, config),
    )


def estimate(parameters: float, tokens: float, config: CostConfig, mfu: float, devices: int = 1) -> Bill:
    """The bill of 6 N D floating point operations at a share `mfu` of the devices' peak, without training."""
    per_second = HARDWARE[config.hardware].peak_flops_per_second * mfu * devices
    return bill(flops_per_token_6n(parameters) * tokens / per_second, config, devices)


def flops_per_token_6n(parameters: float) -> float:
    return 6.0 * parameters


def flops_per_token_palm(parameters: float, layers: int, heads: int, head_width: int, sequence_length: int) -> float:
    """`parameters` without embeddings that are only looked up: positions, and tokens where the head has its own."""
    return 6.0 * parameters + 12.0 * layers * heads * head_width * sequence_length


def flops_per_sequence_by_product(vocabulary_size: int, sequence_length: int, width: int, layers: int) -> int:
    """Every matrix product of a bias-free GPT-2 on one sequence, forward and twice backward; attention not halved."""
    t, c = sequence_length, width
    qkv, scores, values, project, mlp = (
        2 * t * c * 3 * c,
        2 * t * t * c,
        2 * t * t * c,
        2 * t * c * c,
        2 * t * c * 8 * c,
    )
    head = 2 * t * c * vocabulary_size
    return 3 * (layers * (qkv + scores + values + project + mlp) + head)


def mfu(tokens_per_second: float, flops_per_token: float, devices: int, peak_flops_per_second: float) -> float:
    """Model FLOPs utilisation: the share of the peak that goes into the model's own arithmetic."""
    return tokens_per_second * flops_per_token / (devices * peak_flops_per_second)


def parameter_count(
    vocabulary_size: int,
    context_length: int,
    width: int,
    layers: int,
    *,
    qkv_bias: bool,
    tied_head: bool,
    bias: bool = True,
) -> int:
    """Parameters of a GPT-2; without `bias` neither layers nor norms have one."""
    c = width
    norm = 2 * c if bias else c
    vectors = c + 4 * c + c if bias else 0  # of the attention's projection and the MLP's two layers
    block = 12 * c * c + vectors + (3 * c if qkv_bias else 0) + 2 * norm
    head = 0 if tied_head else vocabulary_size * c
    return (vocabulary_size + context_length) * c + layers * block + norm + head


def modern_parameter_count(vocabulary_size: int, width: int, layers: int) -> int:
    """Parameters of the modern architecture: two tables, matrices, and how much of the token before is smeared in."""
    return 2 * vocabulary_size * width + width + 12 * layers * width * width


def chinchilla_tokens(parameters: float) -> float:
    """Tokens that make the best use of a model's size (Hoffmann et al. 2022, approach 2, refitted)."""
    return float(10 ** (1.04096 * log10(parameters) + 0.93539))
