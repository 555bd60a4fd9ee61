"""Words and numbers as tables and messages show them."""

from collections.abc import Collection

from loaders.common.text import did_you_mean


def percent(share: float | None, missing: str = "-") -> str:
    """A share of 1 as percent, `missing` where nothing was measured: 0.9812 is "98.12%"."""
    return missing if share is None else f"{share:.2%}"


def known_names(word: str, known: Collection[str]) -> str:
    """What to say of an unknown name: "did you mean X? known: X, Y", or only what is known where no name is near."""
    return f"{did_you_mean(word, known)} known: {', '.join(known)}".lstrip()


def one_line(error: Exception) -> str:
    """An error's message without line breaks; its type's name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
