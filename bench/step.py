"""One training step of the verdict shape: 162M parameters, 2 x 256 tokens.

`python -m bench.step NAME` takes a few steps in a process of its own.
"""

import json
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from bench import shape
from bench.measure import OURS, PEERS, Contender, flat, in_turns, peak_bytes, peak_memory, ratio, spread
from bench.results import Outcome, Row

ROUNDS = 3
WARM_UP_STEPS = 2
STEPS = 4

# Name: dropout, precision.
VARIANTS = {
    "ours": (shape.DROPOUT, "fp32"),
    "ours without dropout": (0.0, "fp32"),
    "ours in bf16": (shape.DROPOUT, "bf16"),
}
PEER_NAMES = ("book", "transformers", "litgpt")

# A peer has a target only from this multiple of the limit on; a faster peer leaves less room.
SLOW_PEER = 2.4


def our_training(name: str) -> tuple[Any, Iterator[Any]]:
    """A model, and the training loop of a run on it."""
    import numpy as np

    from minigpt.data.windows import Windows
    from minigpt.model.init import build_model
    from minigpt.runtime.config import EnvironmentConfig
    from minigpt.runtime.environment import apply_environment
    from minigpt.training.config import TrainingConfig
    from minigpt.training.loop import train
    from minigpt.training.optimizers import make_optimizers

    dropout, precision = VARIANTS[name]
    apply_environment(EnvironmentConfig())
    config = TrainingConfig(
        batch_size=shape.BATCH_SIZE,
        max_steps=1000,
        learning_rate=shape.LEARNING_RATE,
        weight_decay=shape.WEIGHT_DECAY,
        schedule="constant",
        gradient_clip_norm=None,
        precision=precision,
    )
    model = build_model(shape.verdict_model_config(dropout), shape.VOCABULARY_SIZE, seed=123)
    tokens = np.random.default_rng(1).integers(0, shape.VOCABULARY_SIZE, 20 * shape.CONTEXT_LENGTH + 1)
    windows = Windows(tokens.astype(np.uint16), shape.CONTEXT_LENGTH, shape.CONTEXT_LENGTH)
    return model, train(model, make_optimizers(model, config), windows, config, seed=123)


def peer_steps(name: str) -> Iterator[float]:
    import torch

    from bench import peers

    torch.manual_seed(123)
    model, loss_of = peers.MODELS[name]()
    model.train()
    optimizer = peers.optimizer(name, model)
    while True:
        rows = torch.randint(shape.VOCABULARY_SIZE, (shape.BATCH_SIZE, shape.CONTEXT_LENGTH + 1))
        optimizer.zero_grad()
        loss = loss_of(rows[:, :-1], rows[:, 1:])
        loss.backward()
        optimizer.step()
        yield loss.item()


def main(name: str) -> None:
    steps = (metrics.loss for metrics in our_training(name)[1]) if name in VARIANTS else peer_steps(name)
    losses = list(islice(steps, WARM_UP_STEPS))
    seconds = []
    for _ in range(STEPS):
        started = time.perf_counter()
        losses.append(next(steps))
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": seconds, "losses": losses, "peak_bytes": peak_bytes()}))


def run() -> Outcome:
    limits = {f"limit in {precision}": precision for precision in ("fp32", "bf16")}
    results = in_turns(
        [
            *(Contender(name, OURS, "bench.limit", ("step", precision)) for name, precision in limits.items()),
            *(Contender(name, OURS, "bench.step", (name,)) for name in VARIANTS),
            *(Contender(name, PEERS, "bench.step", (name,)) for name in PEER_NAMES),
        ],
        ROUNDS,
    )
    seconds = {name: [result["seconds"] for result in rounds] for name, rounds in results.items()}
    limit, ours = seconds["limit in fp32"], seconds["ours"]
    rows = [
        Row.at_most("training step in fp32 over the limit", ratio(ours, limit), 1.3),
        Row.at_most("the same without dropout", ratio(seconds["ours without dropout"], limit), 1.2),
        Row.at_least("litgpt (no dropout) over ours with dropout", ratio(seconds["litgpt"], ours), 1.0),
    ]
    for name, target in (("book", 1.8), ("transformers", 1.7)):
        theirs = ratio(seconds[name], limit)
        applies = theirs.median >= SLOW_PEER
        note = f"{name} takes {theirs.median:.2f} x the limit; the target applies from {SLOW_PEER} x on"
        rows.append(Row.at_least(f"{name} over ours", ratio(seconds[name], ours), target if applies else None, note))
    rows.append(Row.at_least("fp32 over bf16", ratio(ours, seconds["ours in bf16"]), 1.6))
    table = [
        {
            "step of": name,
            "seconds": str(spread(flat(seconds[name]))),
            "over its limit": str(ratio(seconds[name], seconds[f"limit in {'bf16' if 'bf16' in name else 'fp32'}"])),
            "peak memory": peak_memory(results[name]),
        }
        for name in results
    ]
    return Outcome(rows, table, results)


if __name__ == "__main__":
    main(*sys.argv[1:])
