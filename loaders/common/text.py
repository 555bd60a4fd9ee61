"""The hint in an error line about an unknown name."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str], most: int = 1) -> str:
    """"did you mean X?" with the nearest known names, at most `most`; "" if none is similar."""
    near = get_close_matches(word, list(known), n=most, cutoff=0.5)
    return f"did you mean {', '.join(near)}?" if near else ""
