"""The difference between two models on one text, as a value that loads without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PairedDifference:
    """Difference of two models on one text in bits per byte, with its standard error over the passages."""

    bits_per_byte: float
    standard_error: float
    may_be_chance: bool
