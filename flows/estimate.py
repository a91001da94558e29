"""Estimate the cost of a training without running it, on several kinds of hardware side by side."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from flows.config import load_config, presets
from minigpt.cost.config import ASSUMPTIONS_DATE, HARDWARE, CostConfig
from minigpt.cost.flops import chinchilla_tokens, flops_per_token_6n, gpt2_parameter_count, modern_parameter_count
from minigpt.cost.price import Bill, estimate_bill
from minigpt.cost.published import PUBLISHED_RUNS
from minigpt.errors import InputError
from minigpt.recipe import RunConfig
from tasks.home.credentials import shown
from tasks.reporting.units import format_duration, format_usd
from tasks.runs.run import as_params, runs_here

# Share of the hardware's peak that a training is assumed to reach without --mfu.
MFU = 0.4
# Upper limit of --parameters and --tokens, above any model or corpus that exists.
MAX_SIZE = 1e18
# Config sections that decide how long a training takes on a machine, apart from its text.
SHAPING = ("split", "tokenizer", "model", "training", "evaluation", "sampling")
# Fields of these sections that may be null; a run records the values that it resolved them to.
RESOLVED = ("model.dropout", "training.precision")


@dataclass(frozen=True)
class HardwareEstimate:
    """The estimate for one model on one kind of hardware; `flops` are those of the complete training."""

    parameters: float
    tokens: float
    flops: float
    mfu: float
    bill: Bill


def estimate_training(
    what: str | None,
    overrides: Sequence[str],
    parameters: float | None,
    tokens: float | None,
    mfu: float | None,
    hardware: Sequence[str],
    as_json: bool,
) -> str:
    """Estimate device hours, USD, kWh and kg CO2, as a table or as one JSON object.

    `what` is a preset, a YAML file or a published model; without it, `parameters` and `tokens` are required. All kinds
    of hardware are estimated if `hardware` is empty. Raises InputError for options that contradict each other.
    """
    share = MFU if mfu is None else mfu
    sized = {"--parameters": parameters is not None, "--tokens": tokens is not None}
    if what in PUBLISHED_RUNS:
        changed = {"--set": bool(overrides), "--mfu": mfu is not None, "--hardware": bool(hardware)}
        _refuse({**sized, **changed}, f"{what}, whose size, hardware and hours are published")
        estimates, notes = _published(what)
    elif what is not None:
        _refuse(sized, f"{what}, whose config has its size")
        if what not in presets() and not Path(what).is_file():
            raise InputError(f"{shown(what)} is neither a file nor one of {_known_models()}; give one of them")
        config = load_config(what, overrides)
        estimates, notes = _estimates(*_size(config), config.cost, share, hardware)
        notes += _paid_before(config)
    else:
        _refuse({"--set": bool(overrides)}, "--parameters and --tokens, which have no config")
        if parameters is None or tokens is None or not (0 < parameters <= MAX_SIZE and 0 < tokens <= MAX_SIZE):
            raise InputError(
                f"estimate needs a preset or published model ({_known_models()}), or --parameters and --tokens above 0 "
                f"and at most {MAX_SIZE:g}"
            )
        estimates, notes = _estimates(parameters, parameters, tokens, CostConfig(), share, hardware)
    first, bill = estimates[0], estimates[0].bill
    wanted = chinchilla_tokens(first.parameters)
    notes += [
        f"a compute-optimal training of this size reads {wanted:.4g} tokens (Chinchilla, approach 2); this one reads "
        f"{first.tokens / wanted:.2g} times as many",
        f"assumptions of {ASSUMPTIONS_DATE}; PUE {bill.pue:g}, {bill.grid_kg_per_kwh:g} kg CO2 for each kWh",
        *(f"{name}: {HARDWARE[name].source}" for name in dict.fromkeys(e.bill.hardware for e in estimates)),
    ]
    if as_json:
        return json.dumps({"estimates": [asdict(e) for e in estimates], "notes": notes})
    return _table(estimates) + "\n\n" + "\n".join(notes)


def _paid_before(config: RunConfig) -> list[str]:
    """One sentence on the cost of the newest completed run of this config in this home, on any text; or nothing."""
    wanted = {name: value for name, value in as_params(config.flat()).items() if name.partition(".")[0] in SHAPING}
    for name in RESOLVED:
        if wanted[name] == "None":
            del wanted[name]
    for run in runs_here():
        result = run.readable_result() if wanted.items() <= run.params.items() else None
        if result is not None and result.status == "completed":
            paid = result.cost.actual
            return [
                f"run {run.short_id} of this config took {format_duration(paid.seconds)} here and cost "
                f"{format_usd(paid.usd)}, including the evaluations, samples and checkpoints during training"
            ]
    return []


def _known_models() -> str:
    return ", ".join([*presets(), *PUBLISHED_RUNS])


def _refuse(given: Mapping[str, bool], what: str) -> None:
    """Refuse options that would change nothing."""
    if flags := ", ".join(flag for flag, is_given in given.items() if is_given):
        raise InputError(f"{flags} does not go with {what}; leave it out")


def _published(name: str) -> tuple[list[HardwareEstimate], list[str]]:
    run = PUBLISHED_RUNS[name]
    flops = flops_per_token_6n(run.parameters) * run.tokens
    notes = [f"device hours as published ({run.source}); MFU = 6 N D / (hours x peak)"]
    return [HardwareEstimate(run.parameters, run.tokens, flops, run.mfu(), run.bill())], notes


def _estimates(
    parameters: float, multiplied: float, tokens: float, prices: CostConfig, mfu: float, hardware: Sequence[str]
) -> tuple[list[HardwareEstimate], list[str]]:
    """Estimates and notes; the price and power of the config apply only to the hardware of the config."""
    flops = flops_per_token_6n(multiplied) * tokens
    estimates = []
    for name in map(_known, hardware or HARDWARE):
        others = {"hardware": name, "usd_per_hour": None, "watts": None}
        own = prices if name == prices.hardware else prices.model_copy(update=others)
        estimates.append(HardwareEstimate(parameters, tokens, flops, mfu, estimate_bill(multiplied, tokens, own, mfu)))
    used = f"MFU, the share of the peak that is used, is taken as {mfu:.0%} (--mfu)"
    notes = [
        f"seconds = 6 N D / (peak x MFU): N parameters, D tokens; {used}",
        "small models reach much less of the peak; `minigpt run` times its first steps and quotes from these",
    ]
    if multiplied != parameters:
        notes += [f"N is {multiplied:,}: embeddings that are only looked up cost no multiplication"]
    return estimates, notes


def _known(name: str) -> str:
    if name not in HARDWARE:
        raise InputError(f"--hardware {name!r} is none of {', '.join(HARDWARE)}; give one of them")
    return name


def _size(config: RunConfig) -> tuple[int, int, int]:
    """Parameters, multiplied parameters (without embeddings that are only looked up), and tokens of the training."""
    model, vocabulary = config.model, config.tokenizer.vocabulary_size
    tokens = config.training.max_steps * config.training.tokens_per_step(model.context_length)
    if model.architecture == "modern":
        parameters = modern_parameter_count(vocabulary, model.width, model.layers)
        return parameters, parameters - vocabulary * model.width, tokens
    parameters = gpt2_parameter_count(
        vocabulary,
        model.context_length,
        model.width,
        model.layers,
        qkv_bias=model.qkv_bias,
        tied_head=model.tied_head,
    )
    looked_up = model.context_length + (0 if model.tied_head else vocabulary)
    return parameters, parameters - looked_up * model.width, tokens


def _table(estimates: Sequence[HardwareEstimate]) -> str:
    first = estimates[0]
    head = f"{first.parameters:,.0f} parameters, {first.tokens:,.0f} tokens, {first.flops:.3g} FLOPs (6 N D)"
    lines = [head, "", f"{'hardware':<12}{'device hours':>15}{'USD':>15}{'kWh':>15}{'kg CO2':>15}{'MFU':>8}"]
    for e in estimates:
        digits = ",.0f" if e.bill.seconds > 3.6e6 else ",.4g"
        columns = (e.bill.seconds / 3600, e.bill.usd, e.bill.kwh, e.bill.co2_kg)
        lines.append(f"{e.bill.hardware:<12}" + "".join(f"{value:>15{digits}}" for value in columns) + f"{e.mfu:>8.1%}")
    return "\n".join(lines)
