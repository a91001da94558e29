"""Named random streams: each is a pure function of the run's seed, its name and the step.

No code uses a global generator, and no generator lives longer than a step. So there is no random state to save,
evaluation and sampling cannot change the training, and a step of a resumed run draws the same numbers as in a run
without interruption.
"""

import hashlib

import torch


def stream(seed: int, name: str, index: int = 0) -> torch.Generator:
    """A new CPU generator for stream `name` at step (or epoch) `index`."""
    digest = hashlib.sha256(f"{seed}/{name}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def init_stream(seed: int) -> torch.Generator:
    """A new CPU generator for weight initialization, seeded like `torch.manual_seed(seed)` for parity with the book."""
    return torch.Generator().manual_seed(seed)
