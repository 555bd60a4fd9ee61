"""Rows of the fault table: betons that are damaged, half written, or do not fit on the disk."""

import os
import random
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.drills.damage import after, cuts, fail, fill, read_only, small_disk, with_flipped_bits
from benchmarks.drills.hooks import instrument
from benchmarks.drills.processes import Failpoints, run_forked
from benchmarks.drills.table import Checks
from loaders.beton import file_format, manifest
from loaders.beton.cache import Beton, ensure, verify
from loaders.common.errors import DataError
from loaders.sources.base import Source, Split

COUNT, CLASSES = 60, ("ant", "bee", "cat", "dog")
SMALL_PAGE_BYTES = 4096
PAGE_BYTES = file_format.PAGE_BYTES
# Disks that are too small for a beton of real pages.
TOO_SMALL_KIB = (64, 1024, 8 * 1024, PAGE_BYTES * 2 // 1024 - 8)
FLIPS = 300


def made(labels_off: int = 0) -> Source:
    """A source of small random images, its labels too high by `labels_off`."""
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 6, 3), np.uint8)
    return Source("made", CLASSES, 8, "f" * 64, ("train",),
                  lambda split: Split(images, np.arange(COUNT) % len(CLASSES) + labels_off))


def small(place: Path) -> tuple[Beton, bytes]:
    """A beton and its bytes, with pages of 4 KiB, so that damage hits more than padding."""
    file_format.PAGE_BYTES = SMALL_PAGE_BYTES
    beton = ensure(made(), "train", place)
    return beton, beton.path.read_bytes()


def is_mended(beton: Beton, whole: bytes) -> bool:
    """Whether ensuring the beton again warns once and writes the same file."""
    warnings: list[str] = []
    again = ensure(made(), "train", beton.path.parent, on_warning=warnings.append)
    return len(warnings) == 1 and again == beton and beton.path.read_bytes() == whole


def cut(checks: Checks, place: Path) -> None:
    """beton empty, cut at every 1/50th, by its last 7 bytes, and with one too many."""
    beton, whole = small(place)
    for content in cuts(whole):
        beton.path.write_bytes(content)
        checks.refuses(lambda: verify(beton.path, beton.key), "bytes where 60 images")
    beton.path.write_bytes(whole + b"\0")
    checks.refuses(lambda: verify(beton.path, beton.key))
    for kept in (0, len(whole) // 2, len(whole) - 7):
        beton.path.write_bytes(whole[:kept])
        checks.survives(lambda: is_mended(beton, whole))


def flipped(checks: Checks, place: Path) -> None:
    """beton and manifest with a single bit flipped, caught before FFCV opens it."""
    beton, whole = small(place)
    for path, content, count in ((beton.path, whole, FLIPS),
                                 (manifest.path_of(beton.path), manifest.path_of(beton.path).read_bytes(), FLIPS // 5)):
        for broken in with_flipped_bits(content, count, random.Random(0)):
            path.write_bytes(broken)
            checks.refuses(lambda: verify(beton.path, beton.key))
        checks.survives(lambda: is_mended(beton, whole))


def write(words: list[str]) -> None:
    """A command's main: write the beton to the folder words[0]."""
    ensure(made(), "train", words[0], on_warning=print)


def killed(checks: Checks, place: Path) -> None:
    """beton's writer killed by SIGKILL at each stage of writing."""
    def run(folder: Path, failpoints: Failpoints | None = None):
        return run_forked(write, [str(folder)], place / "log", failpoints, instrument if failpoints else None)

    trail, whole = place / "trail", place / "whole" / "cache"
    run(whole, Failpoints(trail=trail))
    files = sorted(whole.glob("made*"))
    seen: Counter[str] = Counter()
    for stage in trail.read_text().splitlines():
        seen[stage] += 1
        if not stage.startswith("beton"):
            continue
        folder = place / f"{stage} {seen[stage]}" / "cache"
        if run(folder, Failpoints(stage, seen[stage])).status != -9:
            checks.lost.append(f"was not killed at {stage}")
        again = run(folder)
        same = [path.read_bytes() == (folder / path.name).read_bytes() for path in files]
        checks.survives(again, all(same) and not list(folder.glob(".*.part")))


def raising(checks: Checks, place: Path) -> None:
    """beton's writer stopped after each block, and its source raising."""
    file_format.PAGE_BYTES = SMALL_PAGE_BYTES
    broken = replace(made(), read=lambda split: fail(DataError("a row that cannot be read")))
    checks.refuses(lambda: ensure(broken, "train", place / "source"), "cannot be read")
    checks.survives(lambda: not list((place / "source").glob("made*")))
    blocks: list[int] = []
    ensure(made(), "train", place / "whole", on_progress=lambda done, total: blocks.append(done))

    def stop_at(block: int) -> bool:
        try:
            ensure(made(), "train", place / str(block), on_progress=after(block, partial(fail, KeyboardInterrupt)))
        except KeyboardInterrupt:
            return not [path for path in (place / str(block)).iterdir() if path.suffix != ".lock"]
        return False

    for block in range(len(blocks)):
        checks.survives(lambda block=block: stop_at(block))


def dying(checks: Checks, place: Path) -> None:
    """beton's writer dying while another process waits for it."""
    reads, writes = os.pipe()
    first = os.fork()
    if first == 0:
        def wait(split):
            os.write(writes, b"reading")
            os.read(os.pipe()[0], 1)

        ensure(Source("made", CLASSES, 8, "f" * 64, ("train",), wait), "train", place)
    os.read(reads, 7)

    warned: list[str] = []

    def kill_first(line: str) -> None:
        # Called with the warning that another process is writing.
        warned.append(line)
        os.kill(first, 9)
        os.waitpid(first, 0)

    def take_over() -> bool:
        beton = ensure(made(), "train", place, on_warning=kill_first)
        return len(warned) == 1 and verify(beton.path, beton.key) == beton

    checks.survives(take_over)


def no_room(checks: Checks, place: Path) -> None:
    """beton on a disk that is too small, or full while it is written."""
    for kib in TOO_SMALL_KIB:
        with small_disk(place / "disk", kib) as disk:
            checks.refuses(lambda disk=disk: ensure(made(), "train", disk), "MB free, and made-train.*free some space")
            checks.survives(lambda disk=disk: not list(disk.glob("made*")))
    for block in range(2):
        with small_disk(place / "disk", 24 * 1024) as disk:
            filling = after(block, partial(fill, disk))
            checks.refuses(lambda disk=disk, filling=filling: ensure(made(), "train", disk, on_progress=filling),
                           "no space left on device; free some")
            checks.survives(lambda disk=disk: not list(disk.glob("made*")) and not list(disk.glob(".*.part")))


def read_only_cache(checks: Checks, place: Path) -> None:
    """beton in a cache that is read-only: read where it is whole, else refused."""
    file_format.PAGE_BYTES = SMALL_PAGE_BYTES
    with small_disk(place / "disk", 4096) as disk:
        beton = ensure(made(), "train", disk)
        read_only(disk)
        checks.survives(lambda: ensure(made(), "train", disk) == beton)
        read_only(disk, False)
        beton.path.write_bytes(beton.path.read_bytes()[:-7])
        read_only(disk)
        checks.refuses(lambda: ensure(made(), "train", disk), "read-only file system")


def labels(checks: Checks, place: Path) -> None:
    """labels out of range: in the source, and in a file that matches its checksum."""
    checks.refuses(lambda: ensure(made(1), "train", place), "labels run from 1 to 4")
    checks.refuses(lambda: ensure(made(-1), "train", place), "labels run from -1 to 2")
    beton, whole = small(place)
    for label in (len(CLASSES), 2**62, -1):
        broken = bytearray(whole)
        at = file_format._SAMPLES_AT + file_format.SAMPLE.fields["f1"][1]
        broken[at:at + 8] = label.to_bytes(8, "little", signed=True)
        beton.path.write_bytes(broken)
        checks.refuses(lambda: verify(beton.path, beton.key), "labels run from")


ROWS = (cut, flipped, killed, raising, dying, no_room, read_only_cache, labels)
