"""Formats words and numbers for tables and messages."""

import math
from collections.abc import Collection

from loaders.common.text import did_you_mean


def percent(share: float | None, missing: str = "-") -> str:
    """A share of 1 as percent, `missing` if None: 0.9812 is "98.12%"."""
    return missing if share is None else f"{share:.2%}"


def mean_text(mean: float, deviation: float | None) -> str:
    """A mean, and its standard deviation with two significant digits, to the same place: "8.4 ± 1.0", "27,200 ± 1,300".

    Without a deviation, or if it is 0 or not finite, the mean has four digits or more.
    """
    if not deviation or not math.isfinite(deviation):
        alone = f"{mean:,.0f}" if abs(mean) >= 1000 else f"{mean:.4g}"
        return alone if deviation is None else f"{alone} ± {deviation:g}"
    # As rounding may carry, 0.996 to 1.0, the place is that of the rounded deviation.
    places = 1 - int(f"{deviation:.1e}".partition("e")[2])
    return " ± ".join(f"{round(value, places):,.{max(places, 0)}f}" for value in (mean, deviation))


def known_names(word: str, known: Collection[str]) -> str:
    """The hint for an unknown name: "did you mean X? known: X, Y", or only the known names if none is similar."""
    return f"{did_you_mean(word, known)} known: {', '.join(known)}".lstrip()


def one_line(error: Exception) -> str:
    """An error's message without line breaks, or its type's name if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__
