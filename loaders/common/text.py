"""Names in messages: hints, lists, and one form for names that are written in several."""

import unicodedata
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

MOST_LISTED = 100


def did_you_mean(word: str, known: Iterable[str], most: int = 1) -> str:
    """"did you mean X?" with the nearest known names, at most `most`; "" if none is similar."""
    near = get_close_matches(word, list(known), n=most, cutoff=0.5)
    return f"did you mean {', '.join(near)}?" if near else ""


def listed(items: Sequence[object], most: int = MOST_LISTED) -> str:
    """The items in one line, at most `most` of them: "a, b and 3 more"; "?" for each character that cannot be printed.
    """
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return "".join(letter if letter.isprintable() else "?" for letter in ", ".join(map(str, items[:most])) + more)


def one_form(name: str) -> str:
    """A name in Unicode's composed form (NFC): what looks the same is the same, on whatever system it was typed."""
    return unicodedata.normalize("NFC", name)
