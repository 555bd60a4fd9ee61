"""Settings as text, as plain values, and in messages."""

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches


class RecipeError(ValueError):
    """A recipe, file or setting that cannot be used: one line with the value, what is allowed, and what to do."""


def as_plain(value: object) -> object:
    """A value with lists for tuples, for YAML and JSON."""
    if isinstance(value, Mapping):
        return {key: as_plain(each) for key, each in value.items()}
    return [as_plain(each) for each in value] if isinstance(value, tuple) else value


def as_text(value: object) -> str:
    """A value in the command line's form."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{as_text(each)}" for key, each in value.items())
    if isinstance(value, tuple) and value and isinstance(value[0], Mapping):
        return json.dumps(as_plain(value))
    return ",".join(as_text(part) for part in value) if isinstance(value, list | tuple) else str(value)


def in_one_line(value: object) -> str:
    """A value for a message: escaped, and cut if it is long."""
    text = as_text(value).encode("unicode_escape").decode()
    return text if len(text) <= 80 else text[:77] + "..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "; did you mean X?" with the nearest known name, "" if none is similar."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""
