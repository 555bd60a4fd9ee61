"""Hooks by which a forked command tells where it is: in a step, or how far in the writing of a checkpoint or a beton.

They replace, in that process alone, what writes and what names files; nothing of what the command computes changes.
"""

import builtins
import itertools
import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.drills.child_process import Watch

STEP = "step"


def kind_of(path: str | Path) -> str:
    """What a file, perhaps under its temporary name, is: "checkpoint", "beton" (or its manifest), "" for others."""
    name, folder = Path(path).name, Path(path).parent.name
    if ".pt" in name and folder == "checkpoints":
        return "checkpoint"
    return "beton" if ".beton" in name or (folder == "cache" and ".json" in name) else ""


class Halved:
    """An open file of one kind, each of whose writes is made in two."""

    def __init__(self, file, kind: str, watch: Watch):
        self.file, self.kind, self.watch = file, kind, watch

    def write(self, content) -> int:
        """Write the first half, tell, write the second."""
        view = memoryview(content).cast("B")
        self._write_all(view[:len(view) // 2])
        self.file.flush()
        self.watch.at(f"{self.kind}, half")
        self._write_all(view[len(view) // 2:])
        return view.nbytes

    def _write_all(self, view: memoryview) -> None:
        while view.nbytes:
            view = view[self.file.write(view):]

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def tell(watch: Watch) -> None:
    """Have this process tell `watch` where it is from now on."""
    from engine.training.step import TrainStep

    opens, path_open, fsync, replace, link = builtins.open, Path.open, os.fsync, os.replace, os.link
    step = TrainStep.__call__

    def halved(opened, file, mode):
        kind = kind_of(file) if isinstance(file, str | Path) and set(mode) & set("wx") else ""
        return Halved(opened, kind, watch) if kind else opened

    def told_open(file, mode="r", *words, **options):
        return halved(opens(file, mode, *words, **options), file, mode)

    def told_path_open(path, mode="r", *words, **options):
        return halved(path_open(path, mode, *words, **options), path, mode)

    def told_fsync(number):
        kind = kind_of(os.readlink(f"/proc/self/fd/{number}"))
        if kind:
            watch.at(f"{kind}, before fsync")
        fsync(number)
        if not kind:
            # The folder's comes last.
            watch.at("working")

    def told_replace(old, new):
        kind = kind_of(new)
        if kind:
            watch.at(f"{kind}, before rename")
        replace(old, new)
        if kind:
            watch.at(f"{kind}, after rename")

    def told_link(old, new):
        kind = kind_of(old)
        if kind:
            watch.at(f"{kind}, before keeping")
        link(old, new)

    def told_step(self, *words):
        watch.at(STEP)
        return step(self, *words)

    builtins.open, Path.open = told_open, told_path_open
    os.fsync, os.replace, os.link = told_fsync, told_replace, told_link
    TrainStep.__call__ = told_step


def at_steps(actions: dict[int, Callable[[], None]]) -> Callable[[Watch], None]:
    """What prepares a life in which `actions[n]` is called before its step number n (from 1)."""
    def prepare(watch: Watch) -> None:
        from engine.training.step import TrainStep

        plain, steps = TrainStep.__call__, itertools.count(1)

        def told_step(self, *words):
            actions.get(next(steps), lambda: None)()
            return plain(self, *words)

        TrainStep.__call__ = told_step

    return prepare
