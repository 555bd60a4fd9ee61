"""The requirements of the installed distribution, and installed versions. Standard library only."""

import importlib.metadata
import operator
import re

DISTRIBUTION = "cadence-train"
REQUIREMENT = re.compile(r"^([\w.-]+)\s*(?:\[[^]]*\])?\s*(?:(>=|<=|==|!=|>|<)\s*([\w.]+))?$")
COMPARE = {">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt,
           "<": operator.lt}


def python_floor() -> str:
    """The Python version that the installed distribution requires, such as ">=3.10"; "" if none is stated."""
    return importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"] or ""


def installed(name: str) -> str | None:
    """A distribution's version, None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def requirements() -> list[tuple[str, str, str]] | None:
    """(name, version bound, extra or "") of each of the distribution's requirements; None if it is not installed."""
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
    """Whether `version` meets a bound such as ">=2.10"; local parts ("+cu130") do not count."""
    _, comparison, bound = REQUIREMENT.match("x" + wanted).groups()
    return comparison is None or COMPARE[comparison](release_of(version), release_of(bound))


def release_of(version: str) -> tuple[int, ...]:
    """The numbers of a version, without trailing zeros: 2.10.0+cpu -> (2, 10)."""
    release = re.match(r"\d+(?:\.\d+)*", version)[0]
    return tuple(int(number) for number in re.findall(r"\d+", re.sub(r"((^|\.)0+)+$", "", release)))
