"""The one kind of error a user can cause in the engine, and the check that raises most of them."""

from collections.abc import Collection


class EngineError(ValueError):
    """A setting the engine cannot work with: one line that says what came, what is allowed, what to do."""


def check(setting: str, value: object, allowed: bool, range_: str) -> None:
    """Raise EngineError "setting=value must be range_" unless `allowed`."""
    if not allowed:
        raise EngineError(f"{setting}={value} must be {range_}")


def check_one_of(setting: str, value: str, known: Collection[str]) -> None:
    """Raise EngineError unless `value` is one of the `known` names."""
    check(setting, value, value in known, f"one of {', '.join(known)}")


def check_share(setting: str, share: float) -> None:
    """Raise EngineError unless 0 <= share < 1."""
    check(setting, share, 0 <= share < 1, "at least 0 and below 1")
