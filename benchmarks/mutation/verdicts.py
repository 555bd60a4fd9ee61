"""What the tests say of a mutant: each is judged in a fork by the tests that run its line.

The files on the disk stay as they are: in the fork, the one changed module is imported from the mutant's source.
"""

import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path

from numba.core import caching

from benchmarks.mutation.changes import Mutant
from benchmarks.mutation.forks import forked, run_pytest
from benchmarks.mutation.trail import Trail

# A mutant may take this many times as long as its tests did, and so many seconds more.
TIMES, SPARE_S = 10, 30
KILLED, SURVIVED, ENDLESS, UNCOVERED = "killed", "survived", "endless", "uncovered"
UNNOTICED = (SURVIVED, UNCOVERED)
# pytest's status where all tests passed, or none was left.
PASSED = (0, 5)


class Only:
    """Runs the given tests in the given order, as a plugin of pytest."""

    def __init__(self, tests: Sequence[str]):
        self.place = {test: number for number, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items):
        items[:] = sorted((item for item in items if item.nodeid in self.place),
                          key=lambda item: self.place[item.nodeid])


class Instead(SourceFileLoader):
    """Finds and imports the module of `path`, from another source."""

    def __init__(self, path: Path, source: str):
        super().__init__(".".join(path.with_suffix("").parts), str(path.resolve()))
        self.source = source

    def find_spec(self, fullname, path=None, target=None):
        return spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None

    def get_code(self, fullname):
        return compile(self.source, self.path, "exec")


def judge(path: Path, mutants: Sequence[Mutant], trail: Trail, jobs: int,
          on_judged: Callable[[Mutant, str], None]) -> list[str]:
    """What the tests say of each mutant of a file, `jobs` at a time."""
    verdicts = [UNCOVERED] * len(mutants)
    waiting = [(number, trail.tests_of(path, mutant.lines)) for number, mutant in enumerate(mutants)]
    for number in [number for number, tests in waiting if not tests]:
        on_judged(mutants[number], UNCOVERED)
    waiting = [(number, tests) for number, tests in waiting if tests]
    running: dict[int, tuple[int, int, float]] = {}
    with tempfile.TemporaryDirectory(prefix="cadence-mutants-", ignore_cleanup_errors=True) as folder:
        while waiting or running:
            while waiting and len(running) < jobs:
                number, tests = waiting.pop(0)
                pid = _start(path, mutants[number].source, tests, f"{folder}/{number}")
                limit_s = SPARE_S + TIMES * sum(map(trail.seconds.__getitem__, tests))
                running[os.pidfd_open(pid)] = number, pid, time.monotonic() + limit_s
            ended = select.select(list(running), [], [], 1.0)[0]
            for handle, (number, pid, deadline) in list(running.items()):
                late = time.monotonic() > deadline
                if handle in ended or late:
                    with suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
                    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    os.close(handle)
                    del running[handle]
                    shutil.rmtree(f"{folder}/{number}", ignore_errors=True)
                    verdicts[number] = SURVIVED if status in PASSED else ENDLESS if late else KILLED
                    on_judged(mutants[number], verdicts[number])
    return verdicts


def _start(path: Path, source: str, tests: Sequence[str], folder: str) -> int:
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))

    def run() -> int:
        # What is compiled from a mutant's constants must not reach the cache on the disk.
        caching.Cache.save_overload = lambda *_: None
        sys.meta_path.insert(0, Instead(path, source))
        return run_pytest([*files, "-x", "--assert=plain"], folder, Only(tests))

    return forked(run, os.devnull)
