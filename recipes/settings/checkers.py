"""Strict checkers for recipe values: what a value must be, said in words, with no silent conversion.

fastargs' own take `bool("False")` for True and `int(3.7)` for 3; these accept a value of the right type, or the text
of one from the command line, and nothing else. Each raises ValueError with what is allowed.
"""

import json
import math
import sys
from collections.abc import Mapping

from fastargs.validation import Checker

TRUTHS = {"true": True, "false": False}


class Whole(Checker):
    """A whole number in low..high; text like "128" counts, 3.7 and true do not."""

    def __init__(self, low: int, high: int = 2**63 - 1):
        self.low, self.high = low, high

    def check(self, value):
        if isinstance(value, str):
            try:
                value = int(value)
            except ValueError:
                raise ValueError(self.help()) from None
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise ValueError(self.help())
        return value

    def help(self):
        return f"a whole number >= {self.low}" if self.high == 2**63 - 1 else f"a whole number {self.low}..{self.high}"


class Number(Checker):
    """A finite number in low..high, the ends included unless `above` asks for more than low."""

    def __init__(self, low: float = -math.inf, high: float = math.inf, above: bool = False):
        self.low, self.high, self.above = low, high, above

    def check(self, value):
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                raise ValueError(self.help()) from None
        # Neither NaN and infinities nor whole numbers that no float holds.
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            raise ValueError(self.help())
        if not self.low <= value <= self.high or (self.above and value == self.low):
            raise ValueError(self.help())
        return float(value)

    def help(self):
        if math.isinf(self.high):
            return f"a number {'>' if self.above else '>='} {self.low:g}"
        return f"a number {'above ' if self.above else ''}{self.low:g}..{self.high:g}"


class Truth(Checker):
    """true or false."""

    def check(self, value):
        if isinstance(value, str):
            value = TRUTHS.get(value.lower())
        if not isinstance(value, bool):
            raise ValueError(self.help())
        return value

    def help(self):
        return "true or false"


class Choice(Checker):
    """One of a few names or whole numbers."""

    def __init__(self, *names: str | int):
        self.names = {str(name): name for name in names}

    def check(self, value):
        if isinstance(value, bool) or not isinstance(value, str | int) or str(value) not in self.names:
            raise ValueError(self.help())
        return self.names[str(value)]

    def help(self):
        return "one of " + ", ".join(self.names)


class Text(Checker):
    """One line of text, at most `longest` characters."""

    def __init__(self, longest: int = 4096):
        self.longest = longest

    def check(self, value):
        if not isinstance(value, str) or len(value) > self.longest or any(ord(letter) < 32 for letter in value):
            raise ValueError(self.help())
        return value

    def help(self):
        return f"one line of text, at most {self.longest} characters"


class Several(Checker):
    """A list of values, or their text with commas between; `count` fixes how many (None: any number, also none)."""

    def __init__(self, each: Checker, count: int | None = None):
        self.each, self.count = each, count

    def check(self, value):
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")] if value.strip() else []
        if not isinstance(value, list | tuple) or self.count not in (None, len(value)):
            raise ValueError(self.help())
        try:
            return tuple(self.each.check(part) for part in value)
        except ValueError:
            raise ValueError(self.help()) from None

    def help(self):
        return f"{self.count or 'any number of'} values with commas between, each {self.each.help()}"


class Pairs(Checker):
    """Names (or whole numbers) each with a value: a mapping, or its text, NAME:VALUE with commas between."""

    def __init__(self, key: Checker, value: Checker):
        self.key, self.value = key, value

    def check(self, value):
        if isinstance(value, str):
            value = self._read(value)
        if not isinstance(value, Mapping):
            raise ValueError(self.help())
        try:
            checked = {self.key.check(name): self.value.check(each) for name, each in value.items()}
        except ValueError:
            raise ValueError(self.help()) from None
        # Different texts may name one key: 1 and 01.
        if len(checked) != len(value):
            raise ValueError(self.help())
        return checked

    def _read(self, text: str) -> dict[str, str]:
        pairs = [part.rpartition(":") for part in text.split(",") if part.strip()]
        names = [name.strip() for name, _, _ in pairs]
        if not all(names) or len(set(names)) != len(names):
            raise ValueError(self.help())
        return {name: value.strip() for name, (_, _, value) in zip(names, pairs, strict=True)}

    def help(self):
        return f"KEY:VALUE pairs with commas between, no key twice, KEY {self.key.help()}, VALUE {self.value.help()}"


class Stages(Checker):
    """Stages of training in order: a list of mappings, or its JSON text; each comes back with all of its keys.

    name: what it is called; epochs; lrs: pattern -> highest rate, in order; frozen: patterns of what stays as it is;
    moving_statistics: whether frozen batch norms still follow the batches.
    """

    keys = {"name": Text(40), "epochs": Whole(1, 100_000), "lrs": Pairs(Text(200), Number(0, above=True)),
            "frozen": Several(Text(200)), "moving_statistics": Truth()}
    optional = {"frozen": (), "moving_statistics": False}

    def check(self, value):
        if isinstance(value, str):
            try:
                value = json.loads(value or "[]", object_pairs_hook=_once)
            except (ValueError, RecursionError):
                raise ValueError(self.help()) from None
        if not isinstance(value, list | tuple):
            raise ValueError(self.help())
        stages = tuple(self._stage(number, stage) for number, stage in enumerate(value, 1))
        if len({stage["name"] for stage in stages}) != len(stages):
            raise ValueError("stages with names of their own")
        return stages

    def _stage(self, number: int, stage: object) -> dict[str, object]:
        if not isinstance(stage, Mapping):
            raise ValueError(self.help())
        stage = {**self.optional, **stage}
        for key in (*self.keys, *stage):
            if key not in stage or key not in self.keys:
                shown = str(key).encode("unicode_escape").decode()[:40]
                raise ValueError(f"{self.help()}; stage {number} {'lacks' if key in self.keys else 'has'} {shown}")
        checked = {}
        for key, checker in self.keys.items():
            try:
                checked[key] = checker.check(stage[key])
            except ValueError as error:
                raise ValueError(f"stages whose {key} is {error} (stage {number})") from None
        if not checked["lrs"]:
            raise ValueError(f"stages that train something (stage {number} has no lrs)")
        return checked

    def help(self):
        return "a list of stages, each with name, epochs, lrs and perhaps frozen, moving_statistics (JSON as text)"


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object's pairs as a dict; ValueError where a key stands twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found
