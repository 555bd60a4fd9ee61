"""Strict checkers for recipe values, without silent conversion.

fastargs' checkers read "False" as True and 3.7 as 3. These accept only a value of the right type, or its text from the
command line. Each raises ValueError with what is allowed.
"""

import json
import math
import sys
from collections.abc import Iterable, Mapping

from fastargs.validation import Checker

from recipes.settings.messages import in_one_line

TRUTHS = {"true": True, "false": False}


class Strict(Checker):
    """A checker whose `read` returns the value or raises ValueError, for which `check` substitutes `help`."""

    def check(self, value):
        try:
            return self.read(value)
        except ValueError:
            raise ValueError(self.help()) from None


class Whole(Strict):
    """A whole number in low..high. Text such as "128" is accepted; 3.7 and true are not."""

    def __init__(self, low: int, high: int = 2**63 - 1):
        self.low, self.high = low, high

    def read(self, value):
        value = int(value) if isinstance(value, str) else value
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise ValueError
        return value

    def help(self):
        return f"a whole number >= {self.low}" if self.high == 2**63 - 1 else f"a whole number {self.low}..{self.high}"


class Number(Strict):
    """A finite number in low..high. With `above`, low itself is not allowed."""

    def __init__(self, low: float = -math.inf, high: float = math.inf, above: bool = False):
        self.low, self.high, self.above = low, high, above

    def read(self, value):
        value = float(value) if isinstance(value, str) else value
        # Refuses NaN, infinities and whole numbers that no float holds.
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            raise ValueError
        if not self.low <= value <= self.high or (self.above and value == self.low):
            raise ValueError
        return float(value)

    def help(self):
        if math.isinf(self.high):
            return f"a number {'>' if self.above else '>='} {self.low:g}"
        return f"a number {'above ' if self.above else ''}{self.low:g}..{self.high:g}"


class Truth(Strict):
    """true or false."""

    def read(self, value):
        value = TRUTHS.get(value.lower()) if isinstance(value, str) else value
        if not isinstance(value, bool):
            raise ValueError
        return value

    def help(self):
        return "true or false"


class Choice(Strict):
    """One of a few names or whole numbers."""

    def __init__(self, *names: str | int):
        self.names = {str(name): name for name in names}

    def read(self, value):
        if isinstance(value, bool) or not isinstance(value, str | int) or str(value) not in self.names:
            raise ValueError
        return self.names[str(value)]

    def help(self):
        return "one of " + ", ".join(self.names)


class Text(Strict):
    """One line of text, at most `longest` characters."""

    def __init__(self, longest: int = 4096):
        self.longest = longest

    def check(self, value):
        if not isinstance(value, str):
            raise ValueError("text, in quotes")
        return super().check(value)

    def read(self, value):
        if len(value) > self.longest or any(ord(letter) < 32 for letter in value):
            raise ValueError
        return value

    def help(self):
        return f"one line of text, at most {self.longest} characters"


class Several(Strict):
    """A list of values, or their text with commas between; `count` fixes their number (None: any)."""

    def __init__(self, each: Checker, count: int | None = None):
        self.each, self.count = each, count

    def read(self, value):
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")] if value.strip() else []
        if not isinstance(value, list | tuple) or self.count not in (None, len(value)):
            raise ValueError
        return tuple(self.each.check(part) for part in value)

    def help(self):
        return f"{self.count or 'any number of'} values with commas between, each {self.each.help()}"


class Pairs(Strict):
    """Names (or whole numbers), each with a value: a mapping, or its text, NAME:VALUE with commas between."""

    def __init__(self, key: Checker, value: Checker):
        self.key, self.value = key, value

    def read(self, value):
        if isinstance(value, str):
            pairs = [part.rpartition(":") for part in value.split(",") if part.strip()]
            value = unique((name.strip(), each.strip()) for name, _, each in pairs)
            if "" in value:
                raise ValueError
        if not isinstance(value, Mapping):
            raise ValueError
        # Different texts may name one key: 1 and 01.
        return unique((self.key.check(name), self.value.check(each)) for name, each in value.items())

    def help(self):
        return f"KEY:VALUE pairs with commas between, no key twice, KEY {self.key.help()}, VALUE {self.value.help()}"


class Stages(Checker):
    """Stages of training in order: a list of mappings, or its JSON text; absent keys are filled in.

    lrs: pattern -> highest rate, in order. frozen: patterns of parameters that do not train. moving_statistics: whether
    frozen batch norms follow the batches.
    """

    keys = {"name": Text(40), "epochs": Whole(1, 100_000), "lrs": Pairs(Text(200), Number(0, above=True)),
            "frozen": Several(Text(200)), "moving_statistics": Truth()}
    optional = {"frozen": (), "moving_statistics": False}

    def check(self, value):
        if isinstance(value, str):
            try:
                value = json.loads(value or "[]", object_pairs_hook=unique)
            except (ValueError, RecursionError):
                raise ValueError(self.help()) from None
        if not isinstance(value, list | tuple):
            raise ValueError(self.help())
        stages = tuple(self._stage(number, stage) for number, stage in enumerate(value, 1))
        if len({stage["name"] for stage in stages}) != len(stages):
            raise ValueError("stages with different names")
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


def unique(pairs: Iterable[tuple[object, object]]) -> dict:
    """The dictionary of `pairs`; ValueError for a repeated key."""
    found = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{in_one_line(key)} is given twice: keep one of {in_one_line(found[key])} and "
                             f"{in_one_line(value)}")
        found[key] = value
    return found
