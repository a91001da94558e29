"""Ablations: the quickstart preset with one choice of its recipe switched off at a time.

Every variant trains for the time of the complete preset, because a shorter training favours choices that learn fast and
end badly. There are two texts, because a choice that helps on a text read nine times may harm on one read four times:
quickstart's corpus with dropout from two seeds, and pandas' docstrings without dropout from one seed.

The number of steps that fit into the time is measured first, with all variants loaded and taking turns. Only the fast
steps of each count, because on a shared machine other processes cause the slow ones. The training itself gives the same
bits under any load. It takes over an hour, so `make bench` runs it only if PART names it.

`python -m bench.ablations CHOICE DROPOUT TEXT SEED STEPS` trains in a process of its own; without SEED and STEPS it
takes timed turns.
"""

import contextlib
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, quantiles

import torch
from torch import nn

from bench import quality
from bench.measure import OURS, Contender, flat, say, take
from bench.overhead import ENDLESS, Bare, answer
from bench.results import Outcome, Row
from bench.texts import docstrings
from flows.config import load_config
from minigpt.model import gpt
from minigpt.model import gpt as models
from minigpt.model.config import REPEATED_DROPOUT
from minigpt.model.gpt import GPT, ForwardPass, embedding

ROUNDS, TURN_SECONDS = 25, 0.6
# The step time of a variant is the first of this many quantiles of its steps; it varies little between measurements.
FAST = 20


class LearntPositions(nn.Embedding):
    """A token embedding that adds GPT-2's learnt positions."""

    def __init__(self, model: GPT) -> None:
        tokens = model.token_embedding
        super().__init__(tokens.num_embeddings, tokens.embedding_dim, _weight=tokens.weight.detach())
        self.positions = embedding(model.config.context_length, model.config.width)
        nn.init.normal_(self.positions.weight, std=0.02, generator=torch.Generator().manual_seed(123))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return super().forward(tokens) + self.positions(torch.arange(tokens.shape[1]))


def learnt_positions(model: GPT) -> None:
    still = torch.polar(torch.ones(()), torch.zeros(1))[:, None, None]
    setattr(gpt, "rotations", lambda *_: still)  # noqa: B010
    setattr(model, "token_embedding", LearntPositions(model))  # noqa: B010


def layer_norm(model: GPT) -> None:
    for block in model.blocks:
        block.attention_norm, block.mlp_norm = (nn.LayerNorm(model.config.width) for _ in range(2))
    model.final_norm = nn.LayerNorm(model.config.width)


def no_qk_norm(_: GPT) -> None:
    """Skip tensors of five dimensions, which are queries and keys; all others that are normalised have three."""
    norm = models.rms_norm
    setattr(models, "rms_norm", lambda x: x if x.dim() == 5 else norm(x))  # noqa: B010


def unsmeared(model: GPT) -> None:
    model.smear.requires_grad_(False)


@dataclass
class DroppingPass(ForwardPass):
    """A forward pass that also applies dropout to attention weights."""

    def __post_init__(self) -> None:
        self.attention_dropout = self.dropout


def attention_dropout(_: GPT) -> None:
    setattr(gpt, "ForwardPass", DroppingPass)  # noqa: B010


def gelu(model: GPT) -> None:
    for block in model.blocks:
        block.modern = False  # once the layers are built, only the activation reads it


@torch.no_grad()
def gpt2_projections(model: GPT) -> None:
    generator = torch.Generator().manual_seed(123)
    for name, weight in model.named_parameters():
        if name.endswith(("project.weight", "contract.weight")):
            weight.normal_(std=0.02 / math.sqrt(2 * model.config.layers), generator=generator)
        elif name == "head.weight":
            weight.normal_(std=0.02, generator=generator)


def tied_head(model: GPT) -> None:
    model.head.weight = model.token_embedding.weight


@dataclass(frozen=True)
class Choice:
    """How a choice is switched off: config overrides, or a change of the untrained model."""

    overrides: Sequence[str] = ()
    change: Callable[[GPT], object] = id


CHOICES = {
    "nothing": Choice(),
    "rotary positions (learnt ones instead)": Choice(change=learnt_positions),
    "RMSNorm without weights (LayerNorm)": Choice(change=layer_norm),
    "QK norm": Choice(change=no_qk_norm),
    "squared ReLU (GELU)": Choice(change=gelu),
    "smeared embeddings": Choice(change=unsmeared),
    "zero-initialised projections (GPT-2's)": Choice(change=gpt2_projections),
    "untied head (tied)": Choice(change=tied_head),
    "Muon (AdamW)": Choice(overrides=("training.optimizer=adamw",)),
    "the architecture and Muon (gpt2 and AdamW)": Choice(
        overrides=("model.architecture=gpt2", "training.optimizer=adamw")
    ),
}

# Choices about reading a repeated text, measured apart from the model that reads it.
READING = {
    "attention without dropout": Choice(change=attention_dropout),
    "windows shifted in each epoch": Choice(overrides=("split.shift_windows=false",)),
    "a decay over two fifths (one fifth)": Choice(overrides=("training.decay_fraction=0.2",)),
}


def main(name: str, dropout: str, text: str, seed: str = "123", steps: str = str(ENDLESS)) -> None:
    choice = (CHOICES | READING)[name]
    recipe = ("model.architecture=modern", "training.optimizer=muon", *choice.overrides)
    fields = (f"model.dropout={dropout}", f"seed={seed}", f"training.max_steps={steps}")
    with tempfile.TemporaryDirectory() as home:
        os.environ["MINIGPT_HOME"] = home
        job = quality.prepared(Path(text), (*recipe, *fields), choice.change)
        if int(steps) == ENDLESS:
            answer(job.steps)
            return
        for _ in job.steps:
            pass
        print(json.dumps({"bits_per_byte": job.measure()}))


def step_seconds(choices: Sequence[str], on: tuple[str, str]) -> dict[str, float]:
    """Seconds of a fast step of each choice; `on` is the dropout and the path of the text."""
    with contextlib.ExitStack() as stack:
        loops = {name: Bare("bench.ablations", [name, *on]) for name in choices}
        for loop in loops.values():
            stack.callback(loop.close)
        rounds = [{name: loop.step_seconds(TURN_SECONDS) for name, loop in loops.items()} for _ in range(ROUNDS)]
    return {name: quantiles(flat([each[name] for each in rounds]), n=FAST)[0] for name in choices}


def ablations(content: bytes, dropout: float, choices: Sequence[str], seeds: Sequence[int]) -> Outcome:
    """Train every choice from every seed for the time of the preset, and compare bits per byte at the end."""
    preset_steps = load_config("quickstart", []).training.max_steps
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text"
        text.write_bytes(content)
        on = (str(dropout), str(text))
        seconds = step_seconds(choices, on)
        steps = {name: round(preset_steps * seconds["nothing"] / own) for name, own in seconds.items()}
        for name, own in seconds.items():
            say(f"{name}: {1000 * own:.1f} ms a step, so {steps[name]} steps")
        ends = {}
        for seed in seeds:
            for name in choices:
                arguments = (name, *on, str(seed), str(steps[name]))
                result = take(Contender(name, OURS, "bench.ablations", arguments))
                ends[name, seed] = result["bits_per_byte"]
                say(f"{name}, seed {seed}: {ends[name, seed]:.3f} bits per byte")
    losses = {name: [ends[name, seed] - ends["nothing", seed] for seed in seeds] for name in choices}
    rows = [
        Row.at_least(
            f"bits per byte lost without {name}",
            fmean(lost),
            0.0,
            "by seed: " + ", ".join(f"{bits:+.3f}" for bits in lost) if len(seeds) > 1 else "",
        )
        for name, lost in losses.items()
        if name != "nothing"
    ]
    table = [
        {
            "switched off": name,
            "ms a fast step": f"{1000 * seconds[name]:.1f}",
            "steps": steps[name],
            "bits per byte, by seed": ", ".join(f"{ends[name, seed]:.3f}" for seed in seeds),
        }
        for name in choices
    ]
    return Outcome(rows, table, {f"{name}, seed {seed}": bits for (name, seed), bits in ends.items()})


def on_quickstart(choices: Sequence[str]) -> Outcome:
    from minigpt.data.sources import python_topics

    return ablations(python_topics(), REPEATED_DROPOUT, choices, (123, 124))


def run() -> Outcome:
    return on_quickstart(list(CHOICES))


def run_docstrings() -> Outcome:
    return ablations(docstrings(), 0.0, list(CHOICES), (123,))


def run_reading() -> Outcome:
    return on_quickstart(["nothing", *READING])


if __name__ == "__main__":
    main(*sys.argv[1:])
