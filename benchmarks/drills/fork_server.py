"""A process that has torch and FFCV imported once, and forks from it whatever may crash, hang or be killed."""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from contextlib import suppress

START_LIMIT_S = 300.0


class Died(Exception):
    """A forked process that came to no end of its own: killed by a signal, hanging, or with an error of its own."""


def call_apart(function: Callable, *arguments: object, limit_s: float) -> object:
    """What `function(*arguments)` returns in a process of its own, forked from one that has imported everything.

    The function is one of a module, and all that goes in or out is pickled. The process leads a group: whatever it
    started ends with it. Raises Died where it ended by a signal, raised something, or was not done after `limit_s`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.drills.preload"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        # The first message comes when it has been forked, which at first takes as long as importing everything.
        if not ours.poll(START_LIMIT_S):
            raise Died(f"it did not start within {START_LIMIT_S:g} s")
        ours.recv()
        if not ours.poll(limit_s):
            raise Died(f"it was not done after {limit_s:g} s")
        done, value = ours.recv()
    except EOFError:
        process.join()
        raise Died(f"it ended with status {process.exitcode}") from None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, 9)
        process.kill()
        process.join()
        ours.close()
    if not done:
        raise Died(value)
    return value


def _answer(pipe, function: Callable, arguments: tuple) -> None:
    """In the forked process: say that it is there, call, and send (True, value), or (False, the traceback)."""
    os.setpgid(0, 0)
    pipe.send(None)
    try:
        pipe.send((True, function(*arguments)))
    except BaseException:  # told to the caller, whatever it is
        pipe.send((False, traceback.format_exc()))
