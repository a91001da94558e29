"""Optimizers that do not load torch's compiler: the bits are torch's, and the compiler stays away."""

import subprocess
import sys

import torch

from minigpt.randomness import stream
from minigpt.training.eager import AdamW

TRAINED_AND_SAVED = """
import sys
import torch
from minigpt.model.config import ModelConfig
from minigpt.model.init import build_model
from minigpt.training.config import TrainingConfig
from minigpt.training.optimizers import make_optimizers

model = build_model(ModelConfig(context_length=8, width=8, heads=2, layers=1, dropout=0.0), 16, seed=1)
tokens = torch.arange(8)[None]
for name in ("adamw", "muon"):
    for optimizer in make_optimizers(model, TrainingConfig(optimizer=name)):
        model.loss(tokens, tokens).backward()
        optimizer.step()
        optimizer.zero_grad()
        optimizer.load_state_dict(optimizer.state_dict())
print({"torch._dynamo", "sympy"} & {*sys.modules})
"""


def test_training_and_saving_do_not_load_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", TRAINED_AND_SAVED], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_the_steps_of_adamw_are_those_of_torch_to_the_bit() -> None:
    generator = stream(1, "weights")
    ours = [torch.randn(shape, generator=generator).requires_grad_() for shape in ((24, 8), (8,))]
    theirs = [weight.detach().clone().requires_grad_() for weight in ours]
    settings = {"lr": 1e-2, "betas": (0.9, 0.95), "weight_decay": 0.1, "fused": True}
    optimizers = [AdamW(ours, **settings), torch.optim.AdamW(theirs, **settings)]
    for _ in range(5):
        for weights, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            sum(weight.pow(3).sum() for weight in weights).backward()
            optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    states = [optimizer.state_dict() for optimizer in optimizers]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    assert all(torch.equal(states[0]["state"][0][key], value) for key, value in states[1]["state"][0].items())
