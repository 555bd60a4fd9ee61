"""Numbers in the words of tables and lines."""


def percent(share: float | None, missing: str = "-") -> str:
    """A share of 1 as percent, `missing` where nothing was measured: 0.9812 is "98.12%"."""
    return missing if share is None else f"{share:.2%}"
