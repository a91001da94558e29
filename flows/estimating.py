"""A quote without training, for several kinds of hardware side by side."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from flows import config as configs
from minigpt import cost
from minigpt.cost import ASSUMPTIONS_DATE, HARDWARE, PUBLISHED, Bill, CostConfig
from minigpt.errors import InputError


@dataclass(frozen=True)
class Estimate:
    """One model on one kind of hardware."""

    parameters: float
    tokens: float
    flops: float
    mfu: float
    bill: Bill


def estimate(
    what: str | None,
    overrides: Sequence[str],
    parameters: float | None,
    tokens: float | None,
    mfu: float,
    hardware: Sequence[str],
    as_json: bool,
) -> str:
    """A table of device hours, dollars, power and carbon dioxide, or one JSON object."""
    prices = [CostConfig(hardware=_known(name)) for name in hardware or HARDWARE]
    if what in PUBLISHED:
        published = cost.published_run(what)
        parameters, tokens = published.parameters, published.tokens
        flops = cost.flops_per_token_6n(parameters) * tokens
        estimates = [Estimate(parameters, tokens, flops, published.mfu(), published.bill())]
        notes = [f"device hours as published ({published.source}); MFU = 6 N D / (hours x peak)"]
    else:
        multiplied = parameters
        if what is not None:
            parameters, multiplied, tokens = _size(configs.load(what, overrides))
        if not parameters or not multiplied or not tokens or parameters <= 0 or tokens <= 0:
            known = ", ".join([*configs.presets(), *PUBLISHED])
            raise InputError(
                f"estimate needs a preset or published model ({known}), or --parameters and --tokens above 0"
            )
        bills = [cost.estimate(multiplied, tokens, price, mfu) for price in prices]
        flops = cost.flops_per_token_6n(multiplied) * tokens
        estimates = [Estimate(parameters, tokens, flops, mfu, bill) for bill in bills]
        notes = [f"seconds = 6 N D / (peak x MFU), with an MFU of {mfu:.0%} (--mfu)"]
        if multiplied != parameters:
            notes += [f"N is {multiplied:,}: embeddings that are only looked up cost no multiplication"]
    wanted = cost.chinchilla_tokens(parameters)
    notes += [
        f"Chinchilla's approach 2 wants {wanted:.4g} tokens for this size; here {tokens / wanted:.2g} of that",
        f"assumptions of {ASSUMPTIONS_DATE}; PUE {cost.PUE}, {cost.GRID_KG_PER_KWH} kg CO2 for each kWh",
        *(f"{name}: {HARDWARE[name].source}" for name in dict.fromkeys(e.bill.hardware for e in estimates)),
    ]
    if as_json:
        return json.dumps({"estimates": [asdict(e) for e in estimates], "notes": notes})
    return _table(estimates) + "\n\n" + "\n".join(notes)


def _known(name: str) -> str:
    if name not in HARDWARE:
        raise InputError(f"--hardware {name!r} is none of {', '.join(HARDWARE)}; give one of them")
    return name


def _size(config: configs.RunConfig) -> tuple[int, int, int]:
    """Parameters, those of them that are multiplied, and tokens of a preset's whole training."""
    model = config.model
    parameters = cost.parameter_count(
        config.tokenizer.vocabulary_size,
        model.context_length,
        model.width,
        model.layers,
        qkv_bias=model.qkv_bias,
        tied_head=model.tied_head,
    )
    looked_up = model.context_length + (0 if model.tied_head else config.tokenizer.vocabulary_size)
    tokens = config.training.max_steps * config.training.tokens_per_step(model.context_length)
    return parameters, parameters - looked_up * model.width, tokens


def _table(estimates: Sequence[Estimate]) -> str:
    first = estimates[0]
    head = f"{first.parameters:,.0f} parameters, {first.tokens:,.0f} tokens, {first.flops:.3g} FLOPs (6 N D)"
    lines = [head, "", f"{'hardware':<12}{'device hours':>15}{'USD':>15}{'kWh':>15}{'kg CO2':>15}{'MFU':>8}"]
    for e in estimates:
        digits = ",.0f" if e.bill.seconds > 3.6e6 else ",.4g"
        columns = (e.bill.seconds / 3600, e.bill.usd, e.bill.kwh, e.bill.co2_kg)
        lines.append(f"{e.bill.hardware:<12}" + "".join(f"{value:>15{digits}}" for value in columns) + f"{e.mfu:>8.1%}")
    return "\n".join(lines)
