"""What the installed distribution says it needs, and which versions are there. Needs nothing but Python itself."""

from __future__ import annotations

import importlib.metadata
import operator
import re

DISTRIBUTION = "cadence-train"
REQUIREMENT = re.compile(r"^([\w.-]+)\s*(?:\[[^]]*\])?\s*(?:(>=|<=|==|!=|>|<)\s*([\w.]+))?$")
COMPARE = {">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt,
           "<": operator.lt}


def python_floor() -> str:
    """The Python that the installed distribution needs, such as ">=3.10"; "" where it does not say."""
    return importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"] or ""


def installed(name: str) -> str | None:
    """A distribution's version, None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def requirements() -> list[tuple[str, str, str]] | None:
    """(name, floor or pin, extra or "") of each requirement of the installed distribution; None where it is absent."""
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    parsed = []
    for line in lines:
        wanted, _, marker = line.partition(";")
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
        name, comparison, version = REQUIREMENT.match(wanted.strip()).groups(default="")
        parsed.append((name, comparison + version, extra[1] if extra else ""))
    return parsed


def satisfies(version: str, wanted: str) -> bool:
    """True where `version` meets a floor or pin such as ">=2.10"; local parts ("+cu130") do not count."""
    _, comparison, bound = REQUIREMENT.match("x" + wanted).groups()
    return comparison is None or COMPARE[comparison](release_of(version), release_of(bound))


def release_of(version: str) -> tuple[int, ...]:
    """The numbers of a version, without the zeros at its end: 2.10.0+cpu -> (2, 10)."""
    numbers = [int(part) for part in re.match(r"\d+(?:\.\d+)*", version)[0].split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
