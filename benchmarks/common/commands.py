"""For several benchmark commands: options that list names, and running a command until a deadline."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterable

from engine.common.errors import EngineError


def names_in(text: str) -> list[str]:
    """The names in a comma-separated list, each once."""
    return list(dict.fromkeys(name for name in text.split(",") if name))


def chosen(option: str, text: str, known: Iterable[str]) -> list[str]:
    """The names in an option's comma-separated `text`; EngineError unless they are one or more of `known`."""
    names = names_in(text)
    if not names or not set(names) <= set(known):
        raise EngineError(f"{option}={text} must be one or more of {','.join(known)}")
    return names


def run_until(words: list[str], deadline: float) -> int | None:
    """A command's exit status; None if SIGTERM stopped it at the `deadline` (of time.monotonic)."""
    # A SIGTERM to this process must not leave the command running.
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    process = subprocess.Popen(words)
    try:
        return process.wait(max(1.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait()
        signal.signal(signal.SIGTERM, previous)
