"""Memorization: runs of tokens that a model's sample copies from the training text."""

import numpy as np
import numpy.typing as npt

# A shared run of this many tokens is long enough to suggest memorization.
COPY_TOKENS = 15
# A run of fewer distinct tokens, such as blanks or dashes, is no evidence of memorization.
COPY_DISTINCT_TOKENS = 5
# If more of the validation text's passages share a run of the same length, such texts repeat themselves.
USUAL_PASSAGES = 0.05


def _as_text(tokens: npt.ArrayLike) -> str:
    """Map each token to a character, so that tokens can be searched as a string without an object per token."""
    return np.asarray(tokens, "<u4").tobytes().decode("utf-32-le", "surrogatepass")


def longest_copy(sample: npt.ArrayLike, training: npt.ArrayLike) -> int:
    """Length of the longest run of tokens in `sample` that occurs in `training`.

    A run of fewer than COPY_DISTINCT_TOKENS distinct tokens counts as at most COPY_TOKENS - 1.
    """
    text, piece = _as_text(training), _as_text(sample)
    longest = end = 0
    for start in range(len(piece)):
        end = max(end, start)
        while end < len(piece) and piece[start : end + 1] in text:
            end += 1
        varied = len(set(piece[start:end])) >= COPY_DISTINCT_TOKENS
        longest = max(longest, end - start if varied else min(end - start, COPY_TOKENS - 1))
    return longest


def is_memorized(passages_with_such_a_copy: float) -> bool:
    """True if at most USUAL_PASSAGES of the validation text's passages share a run as long as the sample's."""
    return passages_with_such_a_copy <= USUAL_PASSAGES


def copy_words(tokens: int, passages_with_such_a_copy: float) -> str:
    """One sentence on a copied run of this many tokens.

    `passages_with_such_a_copy` is the fraction of the validation text's passages, as long as the sample, that share a
    run of at least as many tokens with the training text.
    """
    copied = f"{tokens} tokens in a row of the last greedy sample appear word for word in the training text"
    if is_memorized(passages_with_such_a_copy):
        few = f"{passages_with_such_a_copy:.1%}" if passages_with_such_a_copy else "none"
        return (
            f"Memorization: {copied}; {few} of the validation text's passages of the sample's size share a run this "
            "long."
        )
    return (
        f"{copied}, but {passages_with_such_a_copy:.0%} of the validation text's passages of the sample's size share a "
        "run this long: such texts repeat themselves, so this alone is no evidence of memorization."
    )
