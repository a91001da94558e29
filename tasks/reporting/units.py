"""Durations, amounts of money and the level of progress, for a person."""

import math

# The log level of a line that an output without a terminal shows as well: between INFO and WARNING.
PROGRESS_LEVEL = 25


def format_duration(seconds: float) -> str:
    """Seconds as 0:42, 12:05 or 3:00:10."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_usd(usd: float) -> str:
    """An amount to a hundredth of a cent."""
    return f"${usd:.4f}" if usd == 0 or usd >= 0.5e-4 else "less than $0.0001"
