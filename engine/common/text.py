"""Formats words and numbers for tables and messages."""

from collections.abc import Collection

from loaders.common.text import did_you_mean


def percent(share: float | None, missing: str = "-") -> str:
    """A share of 1 as percent, `missing` if None: 0.9812 is "98.12%"."""
    return missing if share is None else f"{share:.2%}"


def known_names(word: str, known: Collection[str]) -> str:
    """The hint for an unknown name: "did you mean X? known: X, Y", or only the known names if none is similar."""
    return f"{did_you_mean(word, known)} known: {', '.join(known)}".lstrip()


def one_line(error: Exception) -> str:
    """An error's message without line breaks, or its type's name if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__
