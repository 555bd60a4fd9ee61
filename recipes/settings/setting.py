"""One setting of a recipe, and the conditions under which a section of settings applies."""

from collections.abc import Callable
from dataclasses import dataclass

from fastargs import Param
from fastargs.config import Config


class Setting(Param):
    """A fastargs parameter with a unit ("" for a plain number or a name)."""

    def __init__(self, checker, default, desc: str, unit: str = ""):
        super().__init__(checker, desc=desc, default=default)
        self.unit = unit


@dataclass(frozen=True)
class Condition:
    """The condition under which a section applies, as a function of the configuration and as text for messages."""

    holds: Callable[[Config], bool]
    words: str

    def __call__(self, config: Config) -> bool:
        return self.holds(config)

    def __str__(self) -> str:
        return self.words


def when(path: str, *names: str) -> Condition:
    """`path` holds one of `names` or, without names, a value other than 0."""
    if names:
        return Condition(lambda config: config[path] in names, f"{path}={'|'.join(names)}")
    return Condition(lambda config: bool(config[path]), f"{path} above 0")


def given(path: str) -> Condition:
    """`path` is not empty."""
    return Condition(lambda config: bool(config[path]), path)


def unless(*paths: str) -> Condition:
    """None of `paths` is set: each is empty or 0."""
    return Condition(lambda config: not any(config[path] for path in paths), f"no {' and no '.join(paths)}")


def every(*conditions: Condition) -> Condition:
    """All of several conditions hold."""
    return Condition(lambda config: all(each(config) for each in conditions), " and ".join(map(str, conditions)))


def either(*conditions: Condition) -> Condition:
    """One of several conditions holds."""
    return Condition(lambda config: any(each(config) for each in conditions), " or ".join(map(str, conditions)))
