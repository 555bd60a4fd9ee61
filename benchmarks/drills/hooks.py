"""Hooks that put failpoints into a forked command: in each step, and at each stage of writing a checkpoint or a beton.

They wrap, in that process alone, the functions that write and name files; what the command computes stays the same.
"""

import builtins
import io
import itertools
import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.drills.processes import Failpoints
from engine.training.step import TrainStep

STEP = "step"


def kind_of(path: str | Path) -> str:
    """The kind of a file, also under its temporary name: "checkpoint", "beton" (or its manifest), or ""."""
    name, folder = Path(path).name, Path(path).parent.name
    if ".pt" in name and folder == "checkpoints":
        return "checkpoint"
    return "beton" if ".beton" in name or (folder == "cache" and ".json" in name) else ""


class SplitWriter(io.BufferedWriter):
    """An open file that writes in two halves, with a failpoint in between."""

    def __init__(self, file, kind: str, failpoints: Failpoints):
        super().__init__(file if isinstance(file, io.RawIOBase) else file.detach())
        self.kind, self.failpoints = kind, failpoints

    def write(self, content) -> int:
        view = memoryview(content).cast("B")
        super().write(view[:len(view) // 2])
        self.flush()
        self.failpoints.reach(f"{self.kind}, half")
        super().write(view[len(view) // 2:])
        return view.nbytes


def instrument(failpoints: Failpoints) -> None:
    """Put the failpoints into this process."""
    def splitting(plain_open: Callable) -> Callable:
        def open_split(file, mode="r", *arguments, **options):
            opened = plain_open(file, mode, *arguments, **options)
            kind = kind_of(file) if isinstance(file, str | Path) and set(mode) & set("wx") else ""
            return SplitWriter(opened, kind, failpoints) if kind else opened

        return open_split

    def reaching(call: Callable, path_of: Callable, before: str, after: str = "", otherwise: str = "") -> Callable:
        def reach_and_call(*arguments):
            kind = kind_of(path_of(*arguments))
            if kind:
                failpoints.reach(f"{kind}, {before}")
            call(*arguments)
            if kind and after or not kind and otherwise:
                failpoints.reach(f"{kind}, {after}" if kind else otherwise)

        return reach_and_call

    builtins.open, Path.open = splitting(builtins.open), splitting(Path.open)
    # The folder, which has no kind, is flushed last.
    os.fsync = reaching(os.fsync, lambda descriptor: os.readlink(f"/proc/self/fd/{descriptor}"), "before fsync",
                        otherwise="working")
    os.replace = reaching(os.replace, lambda old, new: new, "before rename", "after rename")
    os.link = reaching(os.link, lambda old, new: old, "before keeping")
    wrap_step(lambda step, *arguments: failpoints.reach(STEP) or step(*arguments))


def wrap_step(wrapper: Callable) -> None:
    """Replace each training step by `wrapper(step, *arguments)`, where `step(*arguments)` is the original."""
    plain = TrainStep.__call__
    TrainStep.__call__ = lambda *arguments: wrapper(plain, *arguments)


def at_steps(actions: dict[int, Callable[[], None]]) -> Callable[[Failpoints], None]:
    """A `prepare` that makes a process call `actions[n]` before its n-th step (from 1)."""
    numbers = itertools.count(1)

    def acting_step(step, *arguments):
        actions.get(next(numbers), lambda: None)()
        return step(*arguments)

    return lambda failpoints: wrap_step(acting_step)
