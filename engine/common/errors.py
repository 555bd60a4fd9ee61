"""The error class for users' mistakes in the engine, and the checks that raise most of them."""

from collections.abc import Collection


class EngineError(ValueError):
    """A setting the engine cannot use: one line with the value, what is allowed, and what to do."""


def check(setting: str, value: object, allowed: bool, range_: str) -> None:
    """EngineError "setting=value must be range_" unless `allowed`."""
    if not allowed:
        raise EngineError(f"{setting}={value} must be {range_}")


def check_one_of(setting: str, value: str, known: Collection[str]) -> None:
    check(setting, value, value in known, f"one of {', '.join(known)}")


def check_share(setting: str, share: float) -> None:
    check(setting, share, 0 <= share < 1, "at least 0 and below 1")
