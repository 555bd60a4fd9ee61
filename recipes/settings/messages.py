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


def nearest_settings(word: str, settings: Iterable[str], others: Iterable[str] = ()) -> list[str]:
    """What an unknown `word` may mean: every setting ("train.epochs") whose last part is nearest to the word's.

    lr and optim.lr mean schedule.lr, name means each setting of that name, data_root data.root. others: names without a
    section that are known too. Of similar names theirs, and those of the word's own section, come first. [] if none is
    similar.
    """
    others = list(others)
    section, _, last = word.replace("-", "_").lower().rpartition(".")
    known = [(path.rpartition(".")[2], path) for path in (*others, *settings)]
    if same := [path for name, path in known if last in (name.replace("-", "_"), path.replace(".", "_"))]:
        return same
    own = [name for name, path in known if section and path.startswith(f"{section}.")]
    if near := get_close_matches(last, own, n=1, cutoff=0.6):
        return [f"{section}.{near[0]}"]
    near = (get_close_matches(last, [] if section else others, n=1, cutoff=0.65)
            or get_close_matches(last, [name for name, _ in known], n=1, cutoff=0.65))
    return [path for name, path in known if name in near]


def meant_setting(word: str, settings: Iterable[str]) -> str:
    """ "; did you mean X or Y?" with the settings that `word` may mean, "" if none is similar."""
    near = nearest_settings(word, settings)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "; did you mean X?" with the nearest known name, "" if none is similar."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""
