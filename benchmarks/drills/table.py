"""The fault table: each row tries one kind of fault, in a process of its own, and counts what became of it.

A row is a function `row(tries, place)` with a docstring that names the fault; `place` is an empty folder. What a
fault comes to is one of two: a refusal in one line, or survival with the right result. All else is lost.
"""

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.drills.child_process import Ended
from benchmarks.drills.fork_server import Died, call_apart
from engine.cli.parser import USER_ERRORS
from loaders.beton.cache import Damaged

TRY_LIMIT_S = 5.0
ROW_LIMIT_S = 120.0


class Skip(Exception):
    """Why a row cannot be tried on this machine."""


@dataclass
class Tries:
    """What became of the tries of a row; `lost` says of each that was lost what happened."""

    tried: int = 0
    refused: int = 0
    survived: int = 0
    lost: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    skipped: str = ""

    def refuses(self, call: Callable[[], object], said: str = "") -> None:
        """`call()` must raise a user's error of one line that holds the pattern `said`."""
        value, error = self._time(call)
        if isinstance(error, (*USER_ERRORS, Damaged)) and one_line(str(error), said):
            self.refused += 1
        else:
            self.lost.append(f"{type(error).__name__}: {error}" if error else f"not refused: {value!r:.200}")

    def survives(self, call: Callable[[], object]) -> object:
        """`call()` must return something true, which is returned."""
        value, error = self._time(call)
        if error is None and value:
            self.survived += 1
        else:
            self.lost.append(f"{type(error).__name__}: {error}" if error else f"it came to {value!r:.200}")
        return value

    def bears(self, call: Callable[[], object], said: str = "") -> None:
        """`call()` must either return or refuse."""
        _, error = self._time(call)
        if error is None:
            self.survived += 1
        elif isinstance(error, (*USER_ERRORS, Damaged)) and one_line(str(error), said):
            self.refused += 1
        else:
            self.lost.append(f"{type(error).__name__}: {error}")

    def command_refuses(self, ended: Ended, said: str = "") -> None:
        """A command must have ended with status 2 and one line of error that holds the pattern `said`."""
        self._note(ended)
        if ended.error and one_line(ended.error, said):
            self.refused += 1
        else:
            self.lost.append(self._story(ended))

    def command_survives(self, ended: Ended, good: bool = True, said: str = "") -> None:
        """A command must have ended with status 0, said the pattern `said` and left what is `good`."""
        self._note(ended)
        if ended.status == 0 and good and re.search(said, ended.said):
            self.survived += 1
        else:
            self.lost.append(self._story(ended) + ("" if good else "; its result differs"))

    def command_bears(self, ended: Ended) -> None:
        """A command must have ended well, or with status 2 and one line of error."""
        self._note(ended)
        if ended.status == 0:
            self.survived += 1
        elif ended.error:
            self.refused += 1
        else:
            self.lost.append(self._story(ended))

    def _note(self, ended: Ended) -> None:
        self.tried += 1
        self.slowest_s = max(self.slowest_s, ended.seconds)

    def _story(self, ended: Ended) -> str:
        return f"{'hung, ' if ended.hung else ''}status {ended.status}: {ended.said.strip()[-400:]}"

    def _time(self, call: Callable[[], object]) -> tuple[object, BaseException | None]:
        self.tried += 1
        began = time.monotonic()
        try:
            return call(), None
        except BaseException as error:  # judged by the caller, whatever it is
            return None, error
        finally:
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)


def one_line(text: str, pattern: str) -> bool:
    """Whether a message is one line and holds the pattern."""
    return "\n" not in text and "Traceback" not in text and re.search(pattern, text) is not None


def title(row: Callable) -> str:
    """A row's name."""
    return row.__doc__.strip().splitlines()[0].rstrip(".")


def try_row(row: Callable[..., None], place: Path, *more: object, limit_s: float = ROW_LIMIT_S) -> Tries:
    """Try `row(tries, place, *more)` in a process of its own.

    A try that took longer than TRY_LIMIT_S is lost, and so is a row that died.
    """
    try:
        tries = call_apart(_in_the_process, row, place, more, limit_s=limit_s)
    except Died as error:
        return Tries(1, lost=[str(error)])
    if tries.slowest_s > TRY_LIMIT_S:
        tries.lost.append(f"a try took {tries.slowest_s:.1f} s")
    return tries


def _in_the_process(row: Callable[..., None], place: Path, more: tuple) -> Tries:
    place.mkdir(parents=True)
    tries = Tries()
    try:
        row(tries, place, *more)
    except Skip as reason:
        tries.skipped = str(reason)
    return tries


def row_of(name: str, tries: Tries) -> dict:
    """A row for a results file."""
    return {"name": name, **asdict(tries), "slowest_s": round(tries.slowest_s, 3),
            "lost": len(tries.lost), "how_lost": tries.lost[:5]}
