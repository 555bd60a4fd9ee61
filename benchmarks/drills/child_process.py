"""One life of a command: forked, watched, perhaps stopped at a place or a moment, and what it left behind."""

import mmap
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 30.0
_PLACE_BYTES = 64


@dataclass(frozen=True)
class Ended:
    """How a life ended: its exit status (negative: the signal's number), what it said, where it was, its seconds.

    place: what the process was about when it ended, as its `Watch` last noted; hung: whether it had to be killed for
    taking too long.
    """

    status: int
    said: str
    place: str
    seconds: float
    hung: bool

    @property
    def error(self) -> str:
        """Its one line of error, "" where it ended in another way: with a traceback, say."""
        lines = [line for line in self.said.splitlines() if line.startswith("error: ")]
        refused = self.status == 2 and len(lines) == 1 and "Traceback" not in self.said
        return lines[0] if refused and self.said.rstrip().endswith(lines[0]) else ""


class Watch:
    """Where a forked process is, told through memory that it shares with its parent.

    `at(place)` notes the place and, the `count`-th time it is `target`, does what is to happen there: "wait" for the
    parent to kill it, or a signal's number, raised. `trail` is a file that takes every place, a line each.
    """

    def __init__(self, target: str = "", count: int = 1, then: str | int = "wait", trail: Path | None = None):
        self.shared = mmap.mmap(-1, _PLACE_BYTES)
        self.target, self.left, self.then = target, count, then
        self.trail = os.open(trail, os.O_CREAT | os.O_WRONLY | os.O_APPEND) if trail else None
        self.at("starting")

    @property
    def place(self) -> str:
        """The place noted last."""
        return self.shared[:_PLACE_BYTES - 1].rstrip(b"\0").decode()

    @property
    def waits(self) -> bool:
        """Whether the process waits to be killed."""
        return self.shared[_PLACE_BYTES - 1] == 1

    def at(self, place: str) -> None:
        """The process is at `place` now."""
        self.shared[:_PLACE_BYTES - 1] = place.encode().ljust(_PLACE_BYTES - 1, b"\0")
        if self.trail is not None:
            os.write(self.trail, f"{place}\n".encode())
        if place != self.target:
            return
        self.left -= 1
        if self.left == 0 and self.then == "wait":
            self.shared[_PLACE_BYTES - 1] = 1
            while True:
                signal.pause()
        elif self.left == 0:
            signal.raise_signal(self.then)


def live(main: Callable[[list[str]], int | None], words: list[str], log: Path, watch: Watch | None = None,
         prepare: Callable[[Watch], None] | None = None, kill_after_s: float | None = None,
         limit_s: float = LIMIT_S) -> Ended:
    """Run a door's `main(words)` in a process forked from this one, which must have no other threads.

    Its output goes to `log`. `prepare(watch)` is called in it first. It is killed by SIGKILL `kill_after_s` after its
    start, where the watch makes it wait, and after `limit_s` as one that hangs.
    """
    watch = watch or Watch()
    log.write_bytes(b"")
    sys.stdout.flush()
    sys.stderr.flush()
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _be_the_command(main, words, log, watch, prepare)
    ends, killed, hung = began + limit_s, False, False
    while (done := os.waitpid(pid, os.WNOHANG))[0] == 0:
        now = time.monotonic()
        hung = now > ends
        if not killed and (hung or watch.waits or (kill_after_s is not None and now - began >= kill_after_s)):
            os.kill(pid, signal.SIGKILL)
            killed = True
        time.sleep(0.001)
    return Ended(os.waitstatus_to_exitcode(done[1]), log.read_text(errors="replace"), watch.place,
                 time.monotonic() - began, hung)


def _be_the_command(main: Callable, words: list[str], log: Path, watch: Watch,
                    prepare: Callable[[Watch], None] | None) -> None:
    """In the forked process: become the command, and never return."""
    from engine.cli import parser

    status = 1
    try:
        out = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout, sys.stderr = (open(number, "w", buffering=1, encoding="utf-8", closefd=False) for number in (1, 2))
        if prepare:
            prepare(watch)
        watch.at("working")
        parser.run_command(lambda: main(words))
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:  # as the interpreter would: told, and status 1
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        watch.at("ended")
        os._exit(status)
