"""The cost of a training from the run's own measurements: the quote from its probe, the bill from its seconds."""

from collections.abc import Iterable
from dataclasses import replace

from minigpt.cost.config import CostConfig
from minigpt.cost.flops import PALM_FORMULA, flops_per_token_palm
from minigpt.cost.price import ActualCost, Quote, make_bill, make_quote
from minigpt.io.records import ProbeRecord, Record, StartRecord, of_kind
from minigpt.recipe import RunConfig
from minigpt.training.job import TrainingJob


def quote_for(config: RunConfig, start: StartRecord, probe: ProbeRecord) -> Quote:
    """The price of the whole training, from the times of the probed steps and of the untrained model's evaluation."""
    steps = config.training.max_steps
    first = config.evaluation.offset_steps % config.evaluation.every_steps or config.evaluation.every_steps
    evaluations = len(range(first, steps + 1, config.evaluation.every_steps)) + (not config.evaluation.due(steps))
    every = config.sampling.every_steps
    # The quote assumes that every evaluation is the best so far, and that a full checkpoint writes the weights three
    # times. It includes the checkpoint after the last step, which the bill does not: earlier quotes did, too.
    full = steps // config.training.checkpoint_every_steps if config.training.checkpoint_every_steps else 0
    sampled = steps // every if every else 0
    return make_quote(
        parameters=start.parameters,
        flops_per_token=flops_per_token_palm(
            start.multiplied_parameters,
            config.model.layers,
            config.model.heads,
            config.model.width // config.model.heads,
            config.model.context_length,
        ),
        flops_formula=PALM_FORMULA,
        step_seconds=probe.step_seconds,
        steps=steps,
        tokens_per_step=config.training.tokens_per_step(config.model.context_length),
        other_seconds=evaluations * probe.evaluation_seconds
        + sampled * probe.sample_seconds
        + (evaluations + 3 * full) * probe.checkpoint_seconds,
        config=config.prices,
    )


def with_quote(records: Iterable[Record], job: TrainingJob) -> list[Record]:
    """All records of a journal. A probe of format version 1, which has no quote, gets one."""
    records = list(records)
    start = next(of_kind(records, StartRecord), None)
    return [
        replace(record, quote=quote_for(job.config, start, record))
        if isinstance(record, ProbeRecord) and record.quote is None and start
        else record
        for record in records
    ]


def actual_cost(quote: Quote, training_seconds: float, prices: CostConfig) -> ActualCost:
    """The bill of the training, and the quote's error as a fraction of it."""
    bill = make_bill(training_seconds, prices)
    return ActualCost(
        seconds=bill.seconds,
        usd=bill.usd,
        kwh=bill.kwh,
        co2_kg=bill.co2_kg,
        quote_error_fraction=quote.seconds / max(training_seconds, 1e-9) - 1,
    )
