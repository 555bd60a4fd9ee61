"""The fault table: each row provokes one kind of fault in a separate process and counts the outcomes.

A row is a function `row(checks, place)`; its docstring names the fault, `place` is an empty folder. There are two good
outcomes: a refusal in one line, or success with the right result. Anything else is lost.
"""

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.drills.damage import Skip
from benchmarks.drills.processes import ChildDied, ProcessResult, run_isolated
from engine.cli.parser import USER_ERRORS
from loaders.beton.cache import Damaged

CHECK_LIMIT_S = 5.0
ROW_LIMIT_S = 120.0
Attempt = Callable[[], object] | ProcessResult


@dataclass
class Checks:
    """The outcomes of a row's checks; `lost` has a line for each bad one. An attempt: a call, or a command's result."""

    tried: int = 0
    refused: int = 0
    survived: int = 0
    lost: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    skipped: str = ""

    def refuses(self, attempt: Attempt, pattern: str = "") -> None:
        """Passes with a user's error, or status 2, in one line that contains `pattern`."""
        self._check(attempt, pattern, may_refuse=True)

    def survives(self, attempt: Attempt, good: bool = True, pattern: str = "") -> None:
        """Passes with a true value, or status 0 and `pattern` in the output; and if the result is `good`."""
        self._check(attempt, pattern, may_survive=True, good=good)

    def bears(self, attempt: Attempt, pattern: str = "") -> None:
        """Passes with any value, status 0, or a refusal that contains `pattern`."""
        self._check(attempt, pattern, may_refuse=True, may_survive=True)

    def _check(self, attempt: Attempt, pattern: str, may_refuse: bool = False, may_survive: bool = False,
               good: bool = True) -> None:
        refusal, output, seconds = "", "", 0.0
        if isinstance(attempt, ProcessResult):
            refusal, output, seconds, survived = attempt.error, attempt.output, attempt.seconds, attempt.status == 0
            story = f"{'hung, ' if attempt.hung else ''}status {attempt.status}: {output.strip()[-400:]}"
        else:
            start = time.monotonic()
            try:
                value = attempt()
                survived, story = may_refuse or bool(value), f"it returned {value!r:.200}"
            except BaseException as error:  # any exception is an outcome
                survived, story = False, f"{type(error).__name__}: {error}"
                refusal = str(error) if isinstance(error, (*USER_ERRORS, Damaged)) else ""
            seconds = time.monotonic() - start
        self.tried += 1
        self.slowest_s = max(self.slowest_s, seconds)
        if may_survive and survived and good and (may_refuse or re.search(pattern, output)):
            self.survived += 1
        elif (may_refuse and refusal and "\n" not in refusal and "Traceback" not in refusal
              and re.search(pattern, refusal)):
            self.refused += 1
        else:
            self.lost.append(story + ("" if good else "; its result differs"))


def title(row: Callable) -> str:
    return row.__doc__.strip().splitlines()[0].rstrip(".")


def check_row(row: Callable[..., None], place: Path, *more: object, limit_s: float = ROW_LIMIT_S) -> Checks:
    """Run `row(checks, place, *more)` in a separate process; a check over CHECK_LIMIT_S or a row that died is lost."""
    try:
        checks = run_isolated(_run_row, row, place, more, limit_s=limit_s)
    except ChildDied as error:
        return Checks(1, lost=[str(error)])
    if checks.slowest_s > CHECK_LIMIT_S:
        checks.lost.append(f"a try took {checks.slowest_s:.1f} s")
    return checks


def _run_row(row: Callable[..., None], place: Path, more: tuple) -> Checks:
    place.mkdir(parents=True)
    checks = Checks()
    try:
        row(checks, place, *more)
    except Skip as reason:
        checks.skipped = str(reason)
    return checks


def row_of(name: str, checks: Checks) -> dict:
    return {"name": name, **asdict(checks), "slowest_s": round(checks.slowest_s, 3), "lost": len(checks.lost),
            "how_lost": checks.lost[:5]}
