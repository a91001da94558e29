"""Randomness by name: every stream is a pure function of the run's seed, its name and the step.

Nothing is drawn from a global generator and no generator lives longer than a step, so there is no random state to
save, evaluating or sampling cannot change the training, and step 5,000 draws the same numbers whether or not the
4,999 before it ran in the same process.
"""

import hashlib

import torch


def stream(seed: int, name: str, index: int = 0) -> torch.Generator:
    """The generator of the stream `name` at step (or epoch) `index`."""
    digest = hashlib.sha256(f"{seed}/{name}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def init_stream(seed: int) -> torch.Generator:
    """The initialisation's generator, seeded as `torch.manual_seed(seed)` does, for parity with the book's model."""
    return torch.Generator().manual_seed(seed)
