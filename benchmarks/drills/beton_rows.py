"""Rows of the fault table: betons that are damaged, half written, or have no room."""

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.drills.child_process import Watch, live
from benchmarks.drills.hooks import tell
from benchmarks.drills.small_disk import fill, read_only, small_disk
from benchmarks.drills.table import Tries
from loaders.beton import file_format, manifest
from loaders.beton.cache import Beton, ensure, verify
from loaders.common.errors import DataError
from loaders.sources.base import Source, Split

COUNT, CLASSES = 60, ("ant", "bee", "cat", "dog")
SMALL_PAGE_BYTES = 4096
PAGE_BYTES = file_format.PAGE_BYTES
FLIPS = 300


def made(labels_off: int = 0) -> Source:
    """A source of small random images; its labels are `labels_off` too high."""
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 6, 3), np.uint8)
    return Source("made", CLASSES, 8, "f" * 64, ("train",),
                  lambda split: Split(images, np.arange(COUNT) % len(CLASSES) + labels_off))


def small(place: Path) -> tuple[Beton, bytes]:
    """A beton with pages of 4 KiB, where damage finds more than padding: what is known of it, and its bytes."""
    file_format.PAGE_BYTES = SMALL_PAGE_BYTES
    beton = ensure(made(), "train", place)
    return beton, beton.path.read_bytes()


def is_mended(beton: Beton, whole: bytes) -> bool:
    """Whether asking for the beton again warns once and writes the same file."""
    warnings: list[str] = []
    again = ensure(made(), "train", beton.path.parent, on_warning=warnings.append)
    return len(warnings) == 1 and again == beton and beton.path.read_bytes() == whole


def cut(tries: Tries, place: Path) -> None:
    """beton empty, cut at every 1/50th, by its last 7 bytes, and with one too many."""
    beton, whole = small(place)
    for kept in [len(whole) * n // 50 for n in range(50)] + [len(whole) - 7]:
        beton.path.write_bytes(whole[:kept])
        tries.refuses(lambda: verify(beton.path, beton.key), "bytes where 60 images")
    beton.path.write_bytes(whole + b"\0")
    tries.refuses(lambda: verify(beton.path, beton.key))
    for kept in (0, len(whole) // 2, len(whole) - 7):
        beton.path.write_bytes(whole[:kept])
        tries.survives(lambda: is_mended(beton, whole))


def flipped(tries: Tries, place: Path) -> None:
    """beton and manifest with a single bit flipped, caught before FFCV opens it."""
    beton, whole = small(place)
    for path, content, count in ((beton.path, whole, FLIPS),
                                 (manifest.path_of(beton.path), manifest.path_of(beton.path).read_bytes(), FLIPS // 5)):
        for bit in random.Random(0).sample(range(len(content) * 8), count):
            broken = bytearray(content)
            broken[bit // 8] ^= 1 << bit % 8
            path.write_bytes(broken)
            tries.refuses(lambda: verify(beton.path, beton.key))
        tries.survives(lambda: is_mended(beton, whole))


def write(words: list[str]) -> None:
    """As a command: write the beton to the folder that is named."""
    ensure(made(), "train", words[0], on_warning=print)


def killed(tries: Tries, place: Path) -> None:
    """beton's writer killed by SIGKILL at each stage of writing."""
    trail = place / "trail"
    live(write, [str(place / "whole" / "cache")], place / "log", Watch(trail=trail), tell)
    files = sorted((place / "whole" / "cache").glob("made*"))
    seen: dict[str, int] = {}
    for stage in trail.read_text().splitlines():
        seen[stage] = seen.get(stage, 0) + 1
        if not stage.startswith("beton"):
            continue
        folder = place / f"{stage} {seen[stage]}" / "cache"
        ended = live(write, [str(folder)], place / "log", Watch(stage, seen[stage]), tell)
        if ended.status != -9:
            tries.lost.append(f"was not killed at {stage}")
        again = live(write, [str(folder)], place / "log")
        same = [path.read_bytes() == (folder / path.name).read_bytes() for path in files]
        tries.command_survives(again, all(same) and not list(folder.glob(".*.part")))


def raising(tries: Tries, place: Path) -> None:
    """beton's writer stopped after each block, and its source raising."""
    file_format.PAGE_BYTES = SMALL_PAGE_BYTES

    def broken(split):
        raise DataError("a row that cannot be read")

    tries.refuses(lambda: ensure(replace(made(), read=broken), "train", place / "source"), "cannot be read")
    tries.survives(lambda: not list((place / "source").glob("made*")))
    told: list[int] = []
    ensure(made(), "train", place / "whole", on_progress=lambda done, total: told.append(done))

    def stop_at(block: int) -> bool:
        left = iter(range(block))

        def progress(done, total):
            if next(left, None) is None:
                raise KeyboardInterrupt

        try:
            ensure(made(), "train", place / str(block), on_progress=progress)
        except KeyboardInterrupt:
            return not [path for path in (place / str(block)).iterdir() if path.suffix != ".lock"]
        return False

    for block in range(len(told)):
        tries.survives(lambda block=block: stop_at(block))


def dying(tries: Tries, place: Path) -> None:
    """beton's writer dying while another process waits for it."""
    reads, writes = os.pipe()
    first = os.fork()
    if first == 0:
        def wait(split):
            os.write(writes, b"reading")
            os.read(os.pipe()[0], 1)

        ensure(Source("made", CLASSES, 8, "f" * 64, ("train",), wait), "train", place)
    os.read(reads, 7)

    def kill_and_reap(line: str) -> None:
        # Told that another process is at work: now it dies.
        os.kill(first, 9)
        os.waitpid(first, 0)

    warned: list[str] = []

    def take_over() -> bool:
        beton = ensure(made(), "train", place, on_warning=lambda line: (warned.append(line), kill_and_reap(line)))
        return len(warned) == 1 and verify(beton.path, beton.key) == beton

    tries.survives(take_over)


def disks() -> Iterator[int]:
    """Sizes in KiB of disks that are too small for a beton of real pages."""
    yield from (64, 1024, 8 * 1024, PAGE_BYTES * 2 // 1024 - 8)


def fill_after(disk: Path, left: Iterator[int], done: int, total: int) -> None:
    """As a progress callback: fill the disk once `left` has run out."""
    if next(left, None) is None:
        fill(disk)


def no_room(tries: Tries, place: Path) -> None:
    """beton on a disk that is too small, or full while it is written."""
    for kib in disks():
        with small_disk(place / "disk", kib) as disk:
            tries.refuses(lambda disk=disk: ensure(made(), "train", disk), "MB free, and made-train.*free some space")
            tries.survives(lambda disk=disk: not list(disk.glob("made*")))
    for block in range(2):
        with small_disk(place / "disk", 24 * 1024) as disk:
            told = partial(fill_after, disk, iter(range(block)))
            tries.refuses(lambda disk=disk, told=told: ensure(made(), "train", disk, on_progress=told),
                          "no space left on device; free some")
            tries.survives(lambda disk=disk: not list(disk.glob("made*")) and not list(disk.glob(".*.part")))


def read_only_cache(tries: Tries, place: Path) -> None:
    """beton in a cache that is read-only: read where it is whole, else refused."""
    file_format.PAGE_BYTES = SMALL_PAGE_BYTES
    with small_disk(place / "disk", 4096) as disk:
        beton = ensure(made(), "train", disk)
        read_only(disk)
        tries.survives(lambda: ensure(made(), "train", disk) == beton)
        read_only(disk, False)
        beton.path.write_bytes(beton.path.read_bytes()[:-7])
        read_only(disk)
        tries.refuses(lambda: ensure(made(), "train", disk), "read-only file system")


def labels(tries: Tries, place: Path) -> None:
    """labels out of range: in the source, and in a file that matches its checksum."""
    tries.refuses(lambda: ensure(made(1), "train", place), "labels run from 1 to 4")
    tries.refuses(lambda: ensure(made(-1), "train", place), "labels run from -1 to 2")
    beton, whole = small(place)
    for label in (len(CLASSES), 2**62, -1):
        broken = bytearray(whole)
        at = file_format._SAMPLES_AT + file_format.SAMPLE.fields["f1"][1]
        broken[at:at + 8] = label.to_bytes(8, "little", signed=True)
        beton.path.write_bytes(broken)
        tries.refuses(lambda: verify(beton.path, beton.key), "labels run from")


ROWS = (cut, flipped, killed, raising, dying, no_room, read_only_cache, labels)
