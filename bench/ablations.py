"""Whether each choice of the modern architecture pays: the quickstart preset with one of them switched off at a time.

Every variant trains on quickstart's corpus for as many steps as fit into the time of the whole preset, from each of two
seeds: a shorter training favours what learns fast and ends badly. How many steps those are is measured first, all
variants in turns and each by its fastest round, so that a busy moment of the machine gives none of them fewer; the
training then gives the same bits whatever the machine does. Takes 35 minutes, and is not a part of `make bench` unless
it is named.
`python -m bench.ablations CHOICE SEED STEPS TEXT` trains in a process of its own.
"""

import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import nn

from bench import quality
from bench.measure import OURS, Contender, in_turns, say, take
from bench.results import Outcome, Row
from flows import config
from minigpt import model as models

PROBE_STEPS, PROBE_ROUNDS = 75, 3
SEEDS = (123, 124)


class LearntPositions(nn.Module):
    """The token embedding with GPT-2's positions added."""

    def __init__(self, model: models.GPT) -> None:
        super().__init__()
        self.tokens = model.token_embedding
        self.positions = nn.Embedding(model.config.context_length, model.config.width)
        nn.init.normal_(self.positions.weight, std=0.02)

    def forward(self, tokens: torch.Tensor) -> Any:
        return self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))


def learnt_positions(model: models.GPT) -> None:
    still = torch.polar(torch.ones(()), torch.zeros(1))[:, None, None]
    setattr(models, "rotations", lambda *_: still)  # noqa: B010
    setattr(model, "token_embedding", LearntPositions(model))  # noqa: B010


def layer_norm(model: models.GPT) -> None:
    for block in model.blocks:
        block.attention_norm, block.mlp_norm = (nn.LayerNorm(model.config.width) for _ in range(2))
    model.final_norm = nn.LayerNorm(model.config.width)


def no_qk_norm(_: models.GPT) -> None:
    """Queries and keys come in five dimensions, what else is normalised in three."""
    norm = models.rms_norm
    setattr(models, "rms_norm", lambda x: x if x.dim() == 5 else norm(x))  # noqa: B010


def unsmeared(model: models.GPT) -> None:
    model.smear.requires_grad_(False)


class DroppingPass(models.Pass):
    """A forward pass with dropout of attention weights as well."""

    def __post_init__(self) -> None:
        self.attention_dropout = self.dropout


def attention_dropout(_: models.GPT) -> None:
    setattr(models, "Pass", DroppingPass)  # noqa: B010


def gelu(model: models.GPT) -> None:
    for block in model.blocks:
        block.modern = False  # read for the activation alone once the layers are there


@torch.no_grad()
def gpt2_projections(model: models.GPT) -> None:
    generator = torch.Generator().manual_seed(123)
    for name, weight in model.named_parameters():
        if name.endswith(("project.weight", "contract.weight")):
            weight.normal_(std=0.02 / math.sqrt(2 * model.config.layers), generator=generator)
        elif name == "head.weight":
            weight.normal_(std=0.02, generator=generator)


def tied_head(model: models.GPT) -> None:
    model.head.weight = model.token_embedding.weight


@dataclass(frozen=True)
class Choice:
    """How it is switched off: fields of the config, or a change of the untrained model."""

    overrides: Sequence[str] = ()
    change: Callable[[models.GPT], object] = id


CHOICES = {
    "nothing": Choice(),
    "rotary positions (learnt ones instead)": Choice(change=learnt_positions),
    "RMSNorm without weights (LayerNorm)": Choice(change=layer_norm),
    "QK norm": Choice(change=no_qk_norm),
    "squared ReLU (GELU)": Choice(change=gelu),
    "smeared embeddings": Choice(change=unsmeared),
    "attention without dropout": Choice(change=attention_dropout),
    "zero-initialised projections (GPT-2's)": Choice(change=gpt2_projections),
    "untied head (tied)": Choice(change=tied_head),
    "Muon (AdamW)": Choice(overrides=("training.optimizer=adamw",)),
    "all of them: gpt2 with AdamW": Choice(overrides=("model.architecture=gpt2", "training.optimizer=adamw")),
}


def main(name: str, seed: str, steps: str, text: str) -> None:
    choice = CHOICES[name]
    # With dropout, as the preset has it for as many steps as it takes.
    modern = ("model.architecture=modern", "training.optimizer=muon", "model.dropout=0.1", f"seed={seed}")
    with tempfile.TemporaryDirectory() as home:
        os.environ["MINIGPT_HOME"] = home
        overrides = (*modern, *choice.overrides, f"training.max_steps={steps}")
        print(json.dumps(quality.ours(Path(text), overrides, choice.change)))


def seconds_a_step(points: Sequence[tuple[int, float, float]]) -> float:
    """Without the first steps, up to the first measurement."""
    (first, begun, _), (last, ended, _) = points[0], points[-1]
    return (ended - begun) / (last - first)


def run() -> Outcome:
    from minigpt.corpus import python_topics

    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "quickstart.txt"
        text.write_bytes(python_topics())

        def contender(name: str, seed: int, steps: int) -> Contender:
            arguments = (name, str(seed), str(steps), str(text))
            return Contender(f"{name}, seed {seed}, {steps} steps", OURS, "bench.ablations", arguments)

        probes = {name: contender(name, SEEDS[0], PROBE_STEPS) for name in CHOICES}
        timed = in_turns(list(probes.values()), PROBE_ROUNDS)
        step_seconds = {
            name: min(seconds_a_step(result["points"]) for result in timed[probe.name])
            for name, probe in probes.items()
        }
        seconds = config.load("quickstart", []).training.max_steps * step_seconds["nothing"]
        contenders = {
            (name, seed): contender(name, seed, round(seconds / step_seconds[name]))
            for seed in SEEDS
            for name in CHOICES
        }
        results = {}
        for key, contender in contenders.items():
            say(contender.name)
            results[key] = take(contender)
    ends = {key: result["points"][-1][2] for key, result in results.items()}
    losses = {name: [ends[name, seed] - ends["nothing", seed] for seed in SEEDS] for name in CHOICES}
    rows = [
        Row.at_least(
            f"bits per byte lost without {name}",
            fmean(lost),
            0.0,
            "by seed: " + ", ".join(f"{bits:+.3f}" for bits in lost),
        )
        for name, lost in losses.items()
        if name != "nothing"
    ]
    table = [
        {
            "switched off": name,
            "seed": seed,
            "bits per byte": f"{ends[name, seed]:.3f}",
            "steps": result["points"][-1][0],
            "ms a step": f"{1000 * step_seconds[name]:.1f}",
        }
        for (name, seed), result in results.items()
    ]
    return Outcome(rows, table, {contenders[key].name: bits for key, bits in ends.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
