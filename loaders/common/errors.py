"""The error class for mistakes of users of the loaders, and how one line names several."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loaders.common.text import listed


class DataError(ValueError):
    """Bad data, policy or loader setting: one line with the value, what is allowed, and what to do."""


class Faults:
    """Collects what is wrong with several files or folders, so that one line can name them all."""

    def __init__(self) -> None:
        self.paths: dict[str, list[Path]] = {}

    def add(self, path: Path, what: str) -> None:
        """Note what is wrong with `path`."""
        self.paths.setdefault(what, []).append(path)

    @contextmanager
    def noting(self, path: Path) -> Iterator[None]:
        """Note a DataError on `path` instead of raising it."""
        try:
            yield
        except DataError as error:
            self.add(path, str(error).removeprefix(f"{path}: "))

    def refuse(self) -> None:
        """Raise what was noted, if anything, as one DataError; paths with the same fault come together."""
        count = sum(map(len, self.paths.values()))
        if not count:
            return
        told = [f"{listed(paths)}: {'each ' if len(paths) > 1 else ''}{what}" for what, paths in self.paths.items()]
        raise DataError((f"{count:,} faults: " if count > 1 else "") + ". ".join(told))
