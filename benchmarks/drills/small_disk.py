"""A small disk of its own for a row: a tmpfs that can be filled up and made read-only."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.drills.table import Skip

FILLER = "filler"
# CLONE_NEWNS of unshare(2).
_NEW_MOUNTS = 0x20000
_BLOCK_BYTES = 1 << 12


@contextmanager
def small_disk(place: Path, kib: int) -> Iterator[Path]:
    """A folder on a disk of `kib` KiB, seen by this process and what it starts, gone when they are.

    Raises Skip where this process may not mount one.
    """
    place.mkdir(parents=True, exist_ok=True)
    if ctypes.CDLL(None).unshare(_NEW_MOUNTS):
        raise Skip("mounting is not allowed here: a namespace of its own for mounts is refused")
    subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)], capture_output=True,
                          text=True)
    if done.returncode:
        raise Skip(f"mounting a tmpfs is not allowed here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path, leave_bytes: int = 0) -> None:
    """Fill the disk under `place` up to `leave_bytes`, by one file of zeros."""
    taken = os.open(place / FILLER, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        with suppress(OSError):
            while os.statvfs(place).f_bavail * os.statvfs(place).f_frsize > leave_bytes:
                os.write(taken, bytes(_BLOCK_BYTES))
    finally:
        os.close(taken)


def free(place: Path) -> None:
    """Remove what `fill` wrote."""
    (place / FILLER).unlink(missing_ok=True)


def read_only(folder: Path, on: bool = True) -> None:
    """Make a folder of such a disk read-only, or writable again; files that are open stay so."""
    # By a second mount over it: a disk with open files cannot be made read-only itself.
    words = ["mount", "--bind", str(folder), str(folder)], ["mount", "-o", "remount,bind,ro", str(folder)]
    for command in words if on else [["umount", str(folder)]]:
        subprocess.run(command, check=True, capture_output=True)
