"""Copies of the training text in what a model writes."""

import numpy as np
import numpy.typing as npt

# So many tokens in a row that stand in the training text may be no chance.
COPY_TOKENS = 15
# So many tokens of it at least are not the same: a row of blanks or dashes is no memory.
COPY_DISTINCT_TOKENS = 5
# What more of the validation text's passages have as well is the text's own way, and no memory.
USUAL_PASSAGES = 0.05


def _as_text(tokens: npt.ArrayLike) -> str:
    """A character for each token, so that the text can be searched; four bytes each, and no object."""
    return np.asarray(tokens, "<u4").tobytes().decode("utf-32-le", "surrogatepass")


def longest_copy(sample: npt.ArrayLike, training: npt.ArrayLike) -> int:
    """How many consecutive tokens of the sample, other than the same few again and again, stand so in the training."""
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
    """Whether a copy is longer than what almost every passage of unread text shares with the training text."""
    return passages_with_such_a_copy <= USUAL_PASSAGES


def copy_words(tokens: int, passages_with_such_a_copy: float) -> str:
    """What so long a copy means, by the share of the validation text's passages, as long as the sample, with one."""
    copied = f"{tokens} tokens in a row of the last greedy sample appear word for word in the training text"
    if is_memorized(passages_with_such_a_copy):
        few = f"{passages_with_such_a_copy:.1%}" if passages_with_such_a_copy else "none"
        return f"Memorisation: {copied}; of the validation text's passages as long as the sample {few} have so many."
    return (
        f"{copied}, as do so many in {passages_with_such_a_copy:.0%} of the validation text's passages as long as the "
        "sample: such texts repeat themselves, so this alone shows no memorisation."
    )
