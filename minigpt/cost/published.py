"""Published trainings, priced by the table of assumptions."""

from dataclasses import dataclass

from minigpt.cost.config import HARDWARE, CostConfig
from minigpt.cost.flops import flops_per_token_6n, model_flops_utilization
from minigpt.cost.price import SECONDS_PER_HOUR, Bill, make_bill


@dataclass(frozen=True)
class PublishedRun:
    parameters: float
    tokens: float
    device_hours: float
    hardware: str
    watts: float
    source: str

    def bill(self) -> Bill:
        """The published device hours at the table's price, billed as one device."""
        return make_bill(self.device_hours * SECONDS_PER_HOUR, CostConfig(hardware=self.hardware, watts=self.watts))

    def mfu(self) -> float:
        seconds = self.device_hours * SECONDS_PER_HOUR
        peak = HARDWARE[self.hardware].peak_flops_per_second
        return model_flops_utilization(self.tokens / seconds, flops_per_token_6n(self.parameters), 1, peak)


LLAMA_2 = "Touvron et al. 2023, table 2"
PUBLISHED_RUNS = {
    "llama-2-7b": PublishedRun(6.738e9, 2e12, 184_320, "a100", 400, LLAMA_2),
    "llama-2-13b": PublishedRun(13.016e9, 2e12, 368_640, "a100", 400, LLAMA_2),
    "llama-2-34b": PublishedRun(33.74e9, 2e12, 1_038_336, "a100", 350, LLAMA_2),
    "llama-2-70b": PublishedRun(68.977e9, 2e12, 1_720_320, "a100", 400, LLAMA_2),
}
