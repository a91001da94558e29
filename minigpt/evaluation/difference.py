"""How two models differ on one text, as a value that is read without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PairedDifference:
    """Bits per byte between two models on one text, and the standard error of that from passage to passage."""

    bits_per_byte: float
    standard_error: float
    may_be_chance: bool
