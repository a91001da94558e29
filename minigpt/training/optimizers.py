"""The optimizers of a run."""

import torch

from minigpt.model.gpt import GPT
from minigpt.training.config import TrainingConfig
from minigpt.training.eager import AdamW
from minigpt.training.muon import Muon


def make_optimizers(model: GPT, config: TrainingConfig) -> list[torch.optim.Optimizer]:
    """AdamW for all weights; or AdamW, then Muon for the matrices of the blocks."""
    blocks = list(model.blocks.parameters()) if config.optimizer == "muon" else []
    matrices = [weight for weight in blocks if weight.dim() == 2]
    theirs = set(map(id, matrices))
    adamw = AdamW(
        [weight for weight in model.parameters() if id(weight) not in theirs],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )
    if not matrices:
        return [adamw]
    return [adamw, Muon(matrices, config.muon_learning_rate, momentum=0.95, weight_decay=config.weight_decay)]
