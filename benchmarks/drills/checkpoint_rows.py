"""Rows of the fault table: checkpoints that are damaged, hostile, of another run, or do not fit on the disk."""

import os
import random
import shutil
from pathlib import Path

from benchmarks.drills import small_run
from benchmarks.drills.damage import cuts, fill, free, read_only, small_disk, with_flipped_bits
from benchmarks.drills.hooks import at_steps
from benchmarks.drills.processes import ProcessResult, run_forked
from benchmarks.drills.table import Checks
from engine import evaluate
from engine.storage import checkpoint

FLIPS = 300
# Of the 12 steps of the run.
FULL_FROM, FULL_TO = 4, 9
DISK_KIB = 2048


def damaged(checks: Checks, place: Path) -> None:
    """checkpoint cut at every 1/50th and by its last 7 bytes: the run goes on from the one before."""
    weights, last = small_run.undisturbed_weights(place), small_run.interrupted(place)
    whole, cut = last.read_bytes(), place / "cut.pt"
    for content in cuts(whole):
        cut.write_bytes(content)
        checks.refuses(lambda: checkpoint.load(cut), "cut short")
    for number, kept in enumerate((0, len(whole) // 2, len(whole) - 7)):
        name = f"copy{number}"
        shutil.copytree(place / "run", place / name)
        (place / name / "checkpoints" / "last.pt").write_bytes(whole[:kept])
        checks.survives(small_run.resume(place, name), small_run.weights_of(place / name) == weights,
                        "warning: .*continuing from last.previous.pt")
    for path in last.parent.iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    checks.refuses(small_run.resume(place, "run"), "cut short")


def flipped(checks: Checks, place: Path) -> None:
    """checkpoint with a single bit flipped."""
    whole, broken = small_run.interrupted(place).read_bytes(), place / "flipped.pt"
    for content in with_flipped_bits(whole, FLIPS, random.Random(0)):
        broken.write_bytes(content)
        checks.refuses(lambda: checkpoint.load(broken), "damaged|cut short")


def other_recipe(checks: Checks, place: Path) -> None:
    """checkpoint of another recipe, and going on with other settings."""
    last = small_run.interrupted(place)
    for more in ("--model.width=8", "--train.seed=1", "--optim.momentum=0.5", "--train.batch=30"):
        setting = more[2:].partition("=")[0]
        checks.refuses(small_run.resume(place, "run", more), f"cannot be resumed with another recipe.*{setting}")
    other = small_run.interrupted(place, "other", "--model.kernel_px=1")
    shutil.copy(other, last)
    checks.refuses(small_run.resume(place, "run"))
    checks.refuses(small_run.start_or_resume(place, "more", f"--model.weights={other}"))


class Hostile(str):
    """The name of a folder, which unpickling makes."""

    def __reduce__(self):
        return os.mkdir, (str(self),)


def hostile(checks: Checks, place: Path) -> None:
    """checkpoint that would run code, with a right checksum: nothing runs."""
    last, trap = small_run.interrupted(place), place / "trap"
    content = checkpoint.load(last)
    for key in ("recipe", "values", "model", "processes", "history"):
        content_bytes = checkpoint.serialise(content | {key: Hostile(str(trap))})
        for path in last.parent.iterdir():
            path.write_bytes(content_bytes)
        checks.refuses(lambda: checkpoint.load(last), "more than tensors and values: posix.mkdir")
        checks.refuses(small_run.resume(place, "run"), "posix.mkdir")
        words = [str(place / "run"), f"--data.cache={place / 'cache'}"]
        checks.refuses(run_forked(evaluate.main, words, place / "log"), "posix.mkdir")
    checks.refuses(small_run.start_or_resume(place, "new", f"--model.weights={last}"))
    checks.survives(lambda: not trap.exists())


def full_disk(checks: Checks, place: Path) -> None:
    """disk full while checkpoints are written: the run goes on, says so, and tries again."""
    weights = small_run.undisturbed_weights(place)
    with small_disk(place / "disk", DISK_KIB) as disk:
        def run(name: str, actions: dict) -> ProcessResult:
            words = small_run.arguments(disk / name, place / "cache")
            return small_run.train_forked(words, place / "log", prepare=at_steps(actions))

        ended = run("for a while", {FULL_FROM: lambda: fill(disk), FULL_TO: lambda: free(disk)})
        checks.survives(ended, small_run.weights_of(disk / "for a while") == weights, "warning: .*no space left")
        checks.refuses(run("to the end", {FULL_FROM: lambda: fill(disk)}), "no space left")
        free(disk)
        checks.survives(run("to the end", {}), small_run.weights_of(disk / "to the end") == weights, "resuming")


def read_only_disk(checks: Checks, place: Path) -> None:
    """disk that turns read-only while checkpoints are written."""
    weights = small_run.undisturbed_weights(place)
    with small_disk(place / "disk", DISK_KIB) as disk:
        for name, below in (("checkpoints", "checkpoints"), ("all", "")):
            folder, turned = disk / name, disk / name / below
            words = small_run.arguments(folder, place / "cache")
            turn = at_steps({FULL_FROM: lambda turned=turned: read_only(turned)})
            checks.refuses(small_run.train_forked(words, place / "log", prepare=turn), "[Rr]ead-only file system")
            read_only(turned, on=False)
            again = small_run.train_forked(words, place / "log")
            checks.survives(again, small_run.weights_of(folder) == weights)


ROWS = (damaged, flipped, other_recipe, hostile, full_disk, read_only_disk)
