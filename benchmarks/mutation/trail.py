"""Which test runs which line: a first run of the tests, without any change."""

import os
import pickle
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import coverage
import pytest

from benchmarks.mutation.forks import PROJECT, forked, run_pytest
from engine.common.errors import EngineError


@dataclass
class Trail:
    """Seconds of each test, the tests that run each line of each file ("" for import and shared fixtures), and the
    modules that they imported besides the project's."""

    seconds: dict[str, float] = field(default_factory=dict)
    by_line: dict[Path, dict[int, set[str]]] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)

    def tests_of(self, path: Path, lines: Iterable[int]) -> list[str]:
        """The tests that these lines of a file concern, the quickest first."""
        found = set().union(*(self.by_line[path].get(line, set()) for line in lines))
        return sorted(self.seconds if "" in found else found, key=self.seconds.__getitem__)


class Watcher:
    """Notes seconds and lines of each test, as a plugin of pytest."""

    def __init__(self, paths: Sequence[Path]):
        self.trail, self.paths = Trail(), paths
        self.coverage = coverage.Coverage(None, include=[str(path.resolve()) for path in paths], config_file=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.coverage.switch_context(item.nodeid)
        began = time.perf_counter()
        done = yield
        self.trail.seconds[item.nodeid] = time.perf_counter() - began
        self.coverage.switch_context("")
        return done

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef, request):
        shared = fixturedef.scope != "function"
        if shared:
            self.coverage.switch_context("")
        try:
            return (yield)
        finally:
            if shared:
                self.coverage.switch_context(request._pyfuncitem.nodeid)

    def finish(self) -> Trail:
        self.coverage.stop()
        data = self.coverage.get_data()
        for path in self.paths:
            lines = data.contexts_by_lineno(str(path.resolve()))
            self.trail.by_line[path] = {line: set(contexts) for line, contexts in lines.items()}
        self.trail.modules = [name for name in sys.modules if name.partition(".")[0] not in PROJECT]
        return self.trail


def watch(paths: Sequence[Path], tests: Sequence[str], marks: str) -> Trail:
    """Run the tests without any change. EngineError where one fails."""
    with tempfile.TemporaryDirectory(prefix="cadence-mutants-") as folder:
        noted, log = Path(folder, "trail"), Path(folder, "log")

        def run() -> int:
            watcher = Watcher(paths)
            watcher.coverage.start()
            status = run_pytest([*tests, "-m", marks], f"{folder}/tests", watcher)
            noted.write_bytes(pickle.dumps(watcher.finish()))
            return status

        status = os.waitstatus_to_exitcode(os.waitpid(forked(run, log), 0)[1])
        if status:
            failed = re.findall("^(?:FAILED|ERROR) ([^ ]+)", log.read_text(errors="replace"), re.MULTILINE)
            raise EngineError(f"without any change the tests end with status {status} ({', '.join(failed[:3])}): mend "
                              "them first")
        return pickle.loads(noted.read_bytes())
