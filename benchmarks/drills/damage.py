"""Harm to files: damaged content, and a disk that is small, full or read-only."""

import ctypes
import itertools
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FILLER = "filler"
# CLONE_NEWNS of unshare(2).
_NEW_MOUNTS = 0x20000
_BLOCK_BYTES = 1 << 12


class Skip(Exception):
    """Why a row cannot be checked on this machine."""


def after(count: int, action: Callable[[], None]) -> Callable[..., None]:
    """A function of any arguments that does nothing `count` times, then calls `action` each time."""
    calls = itertools.count()
    return lambda *arguments: action() if next(calls) >= count else None


def fail(error: BaseException | type[BaseException]) -> None:
    """Raise `error`, in places that take a call."""
    raise error


def cuts(content: bytes) -> Iterator[bytes]:
    """The content cut at every 1/50th, from empty on, and without its last 7 bytes."""
    for kept in [len(content) * n // 50 for n in range(50)] + [len(content) - 7]:
        yield content[:kept]


def with_flipped_bits(content: bytes, count: int, dice: random.Random) -> Iterator[bytes]:
    """`count` copies of the content, each with a different bit flipped."""
    for bit in dice.sample(range(len(content) * 8), count):
        broken = bytearray(content)
        broken[bit // 8] ^= 1 << bit % 8
        yield bytes(broken)


def mutated(content: bytes, dice: random.Random) -> bytes:
    """The content with a few bytes changed, removed, doubled or inserted, and sometimes cut short."""
    broken = bytearray(content)
    for _ in range(dice.randint(1, 3)):
        at, count = dice.randrange(len(broken) + 1), dice.choice([1, 1, 1, 2, 8])
        kind = dice.choice([0, 0, 0, 1, 2, 3])
        if kind == 0:
            for place in range(at, min(at + count, len(broken))):
                broken[place] = dice.randrange(256)
        elif kind == 1 and len(broken) > count:
            del broken[at:at + count]
        elif kind == 2:
            broken[at:at] = broken[at:at + count]
        else:
            broken[at:at] = dice.randbytes(count)
    return bytes(broken[:dice.randrange(len(broken) + 1)] if dice.random() < 0.15 else broken)


@contextmanager
def small_disk(place: Path, kib: int) -> Iterator[Path]:
    """A folder on a disk of `kib` KiB that only this process and its children see; Skip where mounting is refused."""
    place.mkdir(parents=True, exist_ok=True)
    if ctypes.CDLL(None).unshare(_NEW_MOUNTS):
        raise Skip("mounting is not allowed here: a mount namespace is refused")
    subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)], capture_output=True,
                          text=True)
    if done.returncode:
        raise Skip(f"mounting a tmpfs is not allowed here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> None:
    """Fill the disk under `place` with one file of zeros."""
    with suppress(OSError), open(place / FILLER, "ab", buffering=0) as file:
        while os.statvfs(place).f_bavail:
            file.write(bytes(_BLOCK_BYTES))


def free(place: Path) -> None:
    (place / FILLER).unlink(missing_ok=True)


def read_only(folder: Path, on: bool = True) -> None:
    """Make a folder of a small disk read-only, or writable again; open files stay writable."""
    # By a second mount over it, because a disk with open files cannot become read-only.
    words = ["mount", "--bind", str(folder), str(folder)], ["mount", "-o", "remount,bind,ro", str(folder)]
    for command in words if on else [["umount", str(folder)]]:
        subprocess.run(command, check=True, capture_output=True)
