"""Rows of the fault table: checkpoints that are damaged, hostile, another run's, or have no room."""

import hashlib
import io
import os
import random
import shutil
import signal
from pathlib import Path

from benchmarks.drills.child_process import Ended, Watch, live
from benchmarks.drills.hooks import at_steps, tell
from benchmarks.drills.kills import STEP, weights_of, words_of
from benchmarks.drills.small_disk import fill, free, read_only, small_disk
from benchmarks.drills.table import Tries

FLIPS = 300
# Of the 12 steps of the run.
STOPPED_AT, FULL_FROM, FULL_TO = 8, 4, 9
DISK_KIB = 2048


def go(place: Path, name: str, *more: str, **how) -> Ended:
    """A life of the run in place/name, begun or gone on with."""
    from engine import train

    return live(train.main, words_of(place / name, place / "cache", *more), place / f"{name}.log", **how)


def undisturbed(place: Path) -> str:
    """The weights' hash of a run that nothing disturbs."""
    go(place, "undisturbed")
    return weights_of(place / "undisturbed")


def stopped(place: Path, name: str = "run", *more: str) -> Path:
    """The folder of a run that was stopped on its way: its last checkpoint and the one before are there."""
    go(place, name, *more, watch=Watch(STEP, STOPPED_AT, signal.SIGTERM), prepare=tell)
    return place / name / "checkpoints" / "last.pt"


def damaged(tries: Tries, place: Path) -> None:
    """checkpoint cut at every 1/50th and by its last 7 bytes: the run goes on from the one before."""
    from engine.storage import checkpoint

    weights, last = undisturbed(place), stopped(place)
    whole, cut = last.read_bytes(), place / "cut.pt"
    for kept in [len(whole) * n // 50 for n in range(50)] + [len(whole) - 7]:
        cut.write_bytes(whole[:kept])
        tries.refuses(lambda: checkpoint.load(cut), "cut short")
    for number, kept in enumerate((0, len(whole) // 2, len(whole) - 7)):
        name = f"copy{number}"
        shutil.copytree(place / "run", place / name)
        (place / name / "checkpoints" / "last.pt").write_bytes(whole[:kept])
        ended = resumed(place, name, ["--resume", str(place / name)])
        tries.command_survives(ended, weights_of(place / name) == weights, "warning: .*going on with last.previous.pt")
    for path in last.parent.iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    tries.command_refuses(resumed(place, "run", ["--resume", str(place / "run")]), "cut short")


def resumed(place: Path, name: str, words: list[str]) -> Ended:
    """A life of the command with other words."""
    return live_train(words, place / f"{name}.log")


def flipped(tries: Tries, place: Path) -> None:
    """checkpoint with a single bit flipped."""
    from engine.storage import checkpoint

    last = stopped(place)
    whole, broken_file = last.read_bytes(), place / "flipped.pt"
    for bit in random.Random(0).sample(range(len(whole) * 8), FLIPS):
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        broken_file.write_bytes(broken)
        tries.refuses(lambda: checkpoint.load(broken_file), "damaged|cut short")


def other_recipe(tries: Tries, place: Path) -> None:
    """checkpoint of another recipe, and going on with other settings."""
    last = stopped(place)
    for more in ("--model.width=8", "--train.seed=1", "--optim.momentum=0.5", "--train.batch=30"):
        ended = resumed(place, "run", ["--resume", str(place / "run"), more])
        tries.command_refuses(ended, f"cannot go on with another recipe.*{more[2:].partition('=')[0]}")
    other = stopped(place, "other", "--model.kernel_px=1")
    shutil.copy(other, last)
    tries.command_refuses(resumed(place, "run", ["--resume", str(place / "run")]))
    weights = resumed(place, "more", [*words_of(place / "more", place / "cache", f"--model.weights={other}")])
    tries.command_refuses(weights)


class Hostile:
    """Pickled, it asks whoever reads it to make a folder."""

    def __init__(self, folder: str):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def hostile(tries: Tries, place: Path) -> None:
    """checkpoint that would run code, with a right checksum: nothing runs."""
    import torch

    from engine import evaluate
    from engine.storage import checkpoint

    last, trap = stopped(place), place / "trap"
    content = checkpoint.load(last)
    for key in ("recipe", "values", "model", "processes", "history"):
        buffer = io.BytesIO()
        torch.save(content | {key: Hostile(str(trap))}, buffer)
        sealed = buffer.getvalue() + checkpoint.MAGIC + hashlib.sha256(buffer.getvalue()).digest()
        for path in last.parent.iterdir():
            path.write_bytes(sealed)
        tries.refuses(lambda: checkpoint.load(last), "more than tensors and values: posix.mkdir")
        tries.command_refuses(resumed(place, "run", ["--resume", str(place / "run")]), "posix.mkdir")
        evaluated = live(evaluate.main, [str(place / "run"), f"--data.cache={place / 'cache'}"], place / "log")
        tries.command_refuses(evaluated, "posix.mkdir")
    begun = resumed(place, "new", words_of(place / "new", place / "cache", f"--model.weights={last}"))
    tries.command_refuses(begun)
    tries.survives(lambda: not trap.exists())


def full_disk(tries: Tries, place: Path) -> None:
    """disk full while checkpoints are written: the run goes on, says so, and tries again."""
    weights = undisturbed(place)
    with small_disk(place / "disk", DISK_KIB) as disk:
        for name, actions in (("for a while", {FULL_FROM: lambda: fill(disk), FULL_TO: lambda: free(disk)}),
                              ("to the end", {FULL_FROM: lambda: fill(disk)})):
            words = words_of(disk / name, place / "cache")
            ended = live_train(words, place / "log", at_steps(actions))
            if name == "for a while":
                tries.command_survives(ended, weights_of(disk / name) == weights, "warning: .*no space left")
                continue
            tries.command_refuses(ended, "no space left")
            free(disk)
            again = live_train(words, place / "log")
            tries.command_survives(again, weights_of(disk / name) == weights, "going on with")


def live_train(words: list[str], log: Path, prepare=None) -> Ended:
    """A life of `python -m engine.train`."""
    from engine import train

    return live(train.main, words, log, prepare=prepare)


def read_only_disk(tries: Tries, place: Path) -> None:
    """disk that turns read-only while checkpoints are written."""
    weights = undisturbed(place)
    with small_disk(place / "disk", DISK_KIB) as disk:
        for name in ("checkpoints", "all"):
            folder = disk / name
            turned = folder / "checkpoints" if name == "checkpoints" else folder
            words = words_of(folder, place / "cache")
            first = live_train(words, place / "log", at_steps({FULL_FROM: lambda turned=turned: read_only(turned)}))
            tries.command_refuses(first, "[Rr]ead-only file system")
            read_only(turned, on=False)
            again = live_train(words, place / "log")
            tries.command_survives(again, weights_of(folder) == weights)


ROWS = (damaged, flipped, other_recipe, hostile, full_disk, read_only_disk)
