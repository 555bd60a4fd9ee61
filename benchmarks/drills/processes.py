"""Separate processes: a forked command, which may be stopped at a failpoint, and calls in a fresh process."""

import mmap
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.cli.parser import run_command

LIMIT_S = 30.0
START_LIMIT_S = 300.0
_SHARED_BYTES = 64


@dataclass(frozen=True)
class ProcessResult:
    """How a process ended; a negative status is a signal's number. A `hung` process took too long and was killed."""

    status: int
    output: str
    point: str
    seconds: float
    hung: bool

    @property
    def error(self) -> str:
        """Its error line; "" if it ended in any other way than with one line and status 2."""
        lines = [line for line in self.output.splitlines() if line.startswith("error: ")]
        refused = self.status == 2 and len(lines) == 1 and "Traceback" not in self.output
        return lines[0] if refused and self.output.rstrip().endswith(lines[0]) else ""


class Failpoints:
    """The named point that a forked process has reached, in memory shared with its parent.

    The `count`-th time that it reaches `target`, the process does `action`: "wait" for its parent to kill it, or raise
    the signal of that number. The file `trail` gets a line per point.
    """

    def __init__(self, target: str = "", count: int = 1, action: str | int = "wait", trail: Path | None = None):
        self.shared = mmap.mmap(-1, _SHARED_BYTES)
        self.target, self.left, self.action = target, count, action
        self.trail = os.open(trail, os.O_CREAT | os.O_WRONLY | os.O_APPEND) if trail else None
        self.reach("starting")

    @property
    def point(self) -> str:
        return self.shared[:_SHARED_BYTES - 1].rstrip(b"\0").decode()

    @property
    def waits(self) -> bool:
        return self.shared[_SHARED_BYTES - 1] == 1

    def reach(self, point: str) -> None:
        """Note `point`, and act if it is the target."""
        self.shared[:_SHARED_BYTES - 1] = point.encode().ljust(_SHARED_BYTES - 1, b"\0")
        if self.trail is not None:
            os.write(self.trail, f"{point}\n".encode())
        if point != self.target:
            return
        self.left -= 1
        if self.left == 0 and self.action == "wait":
            self.shared[_SHARED_BYTES - 1] = 1
            while True:
                signal.pause()
        elif self.left == 0:
            signal.raise_signal(self.action)


def run_forked(main: Callable[[list[str]], int | None], words: list[str], log: Path,
               failpoints: Failpoints | None = None, prepare: Callable[[Failpoints], None] | None = None,
               kill_after_s: float | None = None, limit_s: float = LIMIT_S) -> ProcessResult:
    """Run a command's `main(words)` in a process forked from this one, which must have no other threads.

    It first calls `prepare(failpoints)`; its output goes to `log`. It gets SIGKILL after `kill_after_s`, when a
    failpoint makes it wait, or after `limit_s`, when it counts as hung.
    """
    failpoints = failpoints or Failpoints()
    log.write_bytes(b"")
    sys.stdout.flush()
    sys.stderr.flush()
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _become(main, words, log, failpoints, prepare)
    killed = hung = False
    while (done := os.waitpid(pid, os.WNOHANG))[0] == 0:
        took_s = time.monotonic() - start
        hung = took_s > limit_s
        if not killed and (hung or failpoints.waits or (kill_after_s is not None and took_s >= kill_after_s)):
            os.kill(pid, signal.SIGKILL)
            killed = True
        time.sleep(0.001)
    return ProcessResult(os.waitstatus_to_exitcode(done[1]), log.read_text(errors="replace"), failpoints.point,
                         time.monotonic() - start, hung)


def _become(main: Callable, words: list[str], log: Path, failpoints: Failpoints,
            prepare: Callable[[Failpoints], None] | None) -> None:
    """In the forked process: run the command, and never return."""
    status = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (open(number, "w", buffering=1, encoding="utf-8", closefd=False) for number in (1, 2))
        if prepare:
            prepare(failpoints)
        failpoints.reach("working")
        run_command(lambda: main(words))
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:  # as the interpreter would: a traceback and status 1
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        failpoints.reach("ended")
        os._exit(status)


class ChildDied(Exception):
    """A forked process that did not return: killed by a signal, hung, or ended by an exception."""


def run_isolated(function: Callable, *arguments: object, limit_s: float) -> object:
    """Return `function(*arguments)`, called in a new process, which is forked from one that has imported everything.

    The function is a module's; arguments and result are pickled. Whatever the process started ends with it. Raises
    ChildDied if it ends by a signal or an exception, or is not done after `limit_s`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.drills.preload"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        # The first message reports the fork, before which the server imports everything once.
        if not ours.poll(START_LIMIT_S):
            raise ChildDied(f"it did not start within {START_LIMIT_S:g} s")
        ours.recv()
        if not ours.poll(limit_s):
            raise ChildDied(f"it was not done after {limit_s:g} s")
        returned, value = ours.recv()
    except EOFError:
        process.join()
        raise ChildDied(f"it ended with status {process.exitcode}") from None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, 9)
        process.kill()
        process.join()
        ours.close()
    if not returned:
        raise ChildDied(value)
    return value


def _call(pipe, function: Callable, arguments: tuple) -> None:
    """In the forked process: report the start, call, and send (True, value), or (False, the traceback)."""
    os.setpgid(0, 0)
    pipe.send(None)
    try:
        pipe.send((True, function(*arguments)))
    except BaseException:  # all are reported to the caller
        pipe.send((False, traceback.format_exc()))
