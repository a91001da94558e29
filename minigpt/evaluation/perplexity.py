"""Perplexity, in a file that loads without torch."""

import math


def perplexity(loss: float) -> float:
    """exp of the mean token loss in nats; infinite if a float cannot hold it."""
    return math.exp(loss) if loss < 709 else math.inf
