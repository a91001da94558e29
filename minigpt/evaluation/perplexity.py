"""Perplexity, in a file that loads without torch."""

import math


def perplexity(loss: float) -> float:
    """exp(mean token loss): between how many tokens the model hesitates; infinite where a float cannot hold it."""
    return math.exp(loss) if loss < 709 else math.inf
