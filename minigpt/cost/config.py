"""Prices, power and peaks of hardware, in one dated table, and the configuration that uses it."""

from dataclasses import dataclass

from pydantic import Field, field_validator

from minigpt.config import Part

ASSUMPTIONS_DATE = "2026-11-24"

# Llama 2 (Touvron et al. 2023, section 2.2.1): power usage efficiency, and the grid that its table 2 implies.
PUE = 1.1
GRID_KG_PER_KWH = 0.385


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
    """The price of an hour of the machine in money, power and carbon dioxide."""

    hardware: str = CPU
    """The kind of machine: a row of the table of assumptions."""
    usd_per_hour: float | None = Field(None, ge=0.0, le=1e6)
    """Price of one device in dollars per hour; null takes the table's, a CPU's scaled to the cores in use."""
    watts: float | None = Field(None, ge=0.0, le=1e6)
    """Power of one device in watts; null takes the table's, a CPU's scaled to the cores in use."""
    pue: float = Field(PUE, ge=1.0, le=5.0)
    """Power usage effectiveness: power of the data centre over power of its machines."""
    grid_kg_per_kwh: float = Field(GRID_KG_PER_KWH, ge=0.0, le=5.0)
    """Carbon dioxide of the grid, in kg per kWh."""

    @field_validator("hardware")
    @classmethod
    def hardware_is_known(cls, name: str) -> str:
        if name not in HARDWARE:
            raise ValueError(f"hardware {name!r} is unknown; take one of {', '.join(HARDWARE)} and set its price")
        return name

    def resolved(self, cores: int) -> "CostConfig":
        """This config with price and power scaled to `cores`, if the hardware is a CPU."""
        if self.hardware != CPU:
            return self
        table, share = HARDWARE[CPU], cores / CPU_CORES
        usd_per_hour = table.usd_per_hour * share if self.usd_per_hour is None else self.usd_per_hour
        watts = table.watts * share if self.watts is None else self.watts
        return self.model_copy(update={"usd_per_hour": usd_per_hour, "watts": watts})
