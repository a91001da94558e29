"""Quality over training time: the quickstart preset against nanoGPT's CPU recipe, on three texts.

The baseline is that recipe on transformers' GPT2LMHeadModel: bytes, 4 layers, 4 heads, width 128, context 64, batch
12, 2,000 steps, learning rate 1e-3 to 1e-4, warm-up 100, no dropout. Only training steps count as time.
`python -m bench.quality NAME TEXT` trains in a process of its own. Both sides are measured on the same validation text.
"""

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import OURS, PEERS, Contender, in_turns
from bench.overhead import bare_job
from bench.results import Outcome, Row
from bench.texts import first_plays, tiny_shakespeare

VALIDATION_FRACTION = 0.1
# Training steps between two points of the curve. For the baseline only the end counts.
MEASURE_EVERY, MEASURE_BASELINE_EVERY = 25, 200
ENGLISH_SECONDS, ENGLISH_TARGET = 120, 2.10

CONTEXT, BATCH, WIDTH, LAYERS, HEADS = 64, 12, 128, 4, 4
STEPS, WARM_UP_STEPS = 2000, 100
LEARNING_RATE, LEAST_LEARNING_RATE = 1e-3, 1e-4
WEIGHT_DECAY, BETAS, CLIP_NORM = 0.1, (0.9, 0.99), 1.0


def curve(steps: Iterator[Any], measure: Callable[[], float], last: int, every: int) -> list[tuple[int, float, float]]:
    """Points (step, training seconds, bits per byte of the validation text), every `every` steps and at the end."""
    points, seconds = [], 0.0
    for step in range(1, last + 1):
        started = time.perf_counter()
        next(steps)
        seconds += time.perf_counter() - started
        if step % every == 0 or step == last:
            points.append((step, seconds, measure()))
    return points


@dataclass(frozen=True)
class Prepared:
    """The preset's training on a text, before its first step."""

    steps: Iterator[Any]
    measure: Callable[[], float]
    """Bits per byte of the validation text."""
    training: Any
    parameters: int


def prepared(text: Path, overrides: Sequence[str] = (), change: Callable[[Any], object] = id) -> Prepared:
    """Prepare the preset's training on tokens that the flow's tasks make; `change` may modify the untrained model."""
    import torch

    from minigpt.data.tokenizer import TOKENIZER_FILE, load_tokenizer
    from minigpt.data.tokens import open_tokens
    from minigpt.data.windows import cut_windows
    from minigpt.evaluation.loss import evaluate
    from minigpt.model.gpt import count_parameters
    from minigpt.model.init import build_model
    from minigpt.training.loop import train
    from minigpt.training.optimizers import make_optimizers

    fixed = [f"corpus.source={text}", f"split.validation_fraction={VALIDATION_FRACTION}"]
    config, tokens, train_windows = bare_job("quickstart", [*fixed, *overrides])
    val_tokens = open_tokens(tokens.folder / "val.bin")
    val_windows = cut_windows(val_tokens, "val", config.model.context_length, config.split)
    tokenizer = load_tokenizer(tokens.folder / TOKENIZER_FILE)
    token_bytes = torch.from_numpy(tokenizer.token_bytes())
    model = build_model(config.model, tokenizer.vocabulary_size, config.seed)
    change(model)
    steps = train(model, make_optimizers(model, config.training), train_windows, config.training, config.seed)

    def measure() -> float:
        return evaluate(model, val_windows.in_order(config.evaluation.batch_size), token_bytes).bits_per_byte

    return Prepared(steps, measure, config.training, count_parameters(model))


def ours(text: Path, overrides: Sequence[str]) -> dict[str, Any]:
    import torch

    job = prepared(text, overrides)
    return {
        "points": curve(job.steps, job.measure, job.training.max_steps, MEASURE_EVERY),
        "parameters": job.parameters,
        "threads": torch.get_num_threads(),
        "precision": job.training.precision,
    }


def baseline(text: Path) -> dict[str, Any]:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1337)
    data = torch.frombuffer(bytearray(text.read_bytes()), dtype=torch.uint8).long()
    cut = int(len(data) * (1 - VALIDATION_FRACTION))
    train_side, val_side = data[:cut], data[cut:]
    config = GPT2Config(
        vocab_size=256,
        n_positions=CONTEXT,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = GPT2LMHeadModel(config)
    matrices = [weight for weight in model.parameters() if weight.dim() >= 2]
    others = [weight for weight in model.parameters() if weight.dim() < 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, fused=True)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        logits = model(rows[:, :-1], use_cache=False).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())

    def steps() -> Iterator[None]:
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step)
            starts = torch.randint(len(train_side) - CONTEXT, (BATCH,))
            loss = loss_of(torch.stack([train_side[start : start + CONTEXT + 1] for start in starts]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            yield

    windows = val_side.unfold(0, CONTEXT + 1, CONTEXT)

    @torch.inference_mode()
    def measure() -> float:
        losses = [loss_of(part).item() * len(part) for part in windows.split(256)]
        return sum(losses) / len(windows) / math.log(2)

    points = curve(steps(), measure, STEPS, MEASURE_BASELINE_EVERY)
    return {"points": points, "parameters": sum(weight.numel() for weight in model.parameters())}


def learning_rate_at(step: int) -> float:
    """The learning rate of nanoGPT's schedule; steps count from 0."""
    if step < WARM_UP_STEPS:
        return LEARNING_RATE * (step + 1) / (WARM_UP_STEPS + 1)
    progress = (step - WARM_UP_STEPS) / (STEPS - WARM_UP_STEPS)
    return LEAST_LEARNING_RATE + (LEARNING_RATE - LEAST_LEARNING_RATE) * (1 + math.cos(math.pi * progress)) / 2


def seconds_to(points: list[tuple[int, float, float]], bits_per_byte: float) -> float:
    """Training seconds until the first point at or below `bits_per_byte`; infinite if no point is."""
    return next((seconds for _, seconds, bits in points if bits <= bits_per_byte), math.inf)


def bits_at(points: list[tuple[int, float, float]], seconds: float) -> float:
    """Bits per byte of the last point within `seconds`; infinite before the first point."""
    return next((bits for _, spent, bits in reversed(points) if spent <= seconds), math.inf)


def main(name: str, text: str, *overrides: str) -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ["MINIGPT_HOME"] = home
        print(json.dumps(ours(Path(text), overrides) if name == "ours" else baseline(Path(text))))


def run() -> Outcome:
    from minigpt.data.sources import python_topics

    # English texts of 1 MB each: the baseline's own, and one that is harder for both sides.
    english = {"tiny Shakespeare": tiny_shakespeare(), "Shakespeare's first plays": first_plays()}
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        overrides: tuple[str, ...] = ()
        for name, content in {"quickstart": python_topics(), **english}.items():
            text = Path(folder) / f"{name}.txt"
            text.write_bytes(content)
            if name in english:  # the steps that fit into the time at the speed just measured
                steps, seconds, _ = results["quickstart"]["ours"]["points"][-1]
                overrides = (f"training.max_steps={int(0.95 * ENGLISH_SECONDS * steps / seconds)}",)
            contenders = [
                Contender("baseline", PEERS, "bench.quality", ("baseline", str(text))),
                Contender("ours", OURS, "bench.quality", ("ours", str(text), *overrides)),
            ]
            results[name] = {who: rounds[0] for who, rounds in in_turns(contenders, rounds=1).items()}
    baseline_points, points = (results["quickstart"][who]["points"] for who in ("baseline", "ours"))
    _, whole_seconds, baseline_end = baseline_points[-1]
    share = seconds_to(points, baseline_end) / whole_seconds
    gap = baseline_end - bits_at(points, whole_seconds)
    rows = [
        Row.at_most("time to the baseline's final quality over the baseline's time", share, 1 / 6),
        Row.at_least("bits per byte below the baseline after the baseline's time", gap, 0.35),
        *(
            Row.at_most(
                f"bits per byte on 1 MB of other English, {name}, within {ENGLISH_SECONDS} s",
                bits_at(results[name]["ours"]["points"], ENGLISH_SECONDS),
                ENGLISH_TARGET,
            )
            for name in english
        ),
    ]
    table = [
        {
            "text": text,
            "recipe": who,
            "parameters": f"{result['parameters']:,}",
            "steps": result["points"][-1][0],
            "seconds of training": f"{result['points'][-1][1]:.0f}",
            "ms per step": f"{1000 * result['points'][-1][1] / result['points'][-1][0]:.1f}",
            "bits per byte at the end": f"{result['points'][-1][2]:.3f}",
        }
        for text, both in results.items()
        for who, result in both.items()
    ]
    return Outcome(rows, table, results)


if __name__ == "__main__":
    main(*sys.argv[1:])
