"""Rows of the fault table: feeds that raise, are left early, or have too many workers or too few images."""

import hashlib
import os
import threading
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.drills.damage import after, fail
from benchmarks.drills.small_run import arguments, train_forked
from benchmarks.drills.table import Checks
from loaders.beton.cache import Beton, ensure
from loaders.feeds import stream
from loaders.policy.policy import parse
from loaders.sources.open import open_source

COUNT, SIDE_PX = 300, 16


def beton_of(place: Path) -> Beton:
    return ensure(open_source("shapes", resolution=SIDE_PX, train_count=COUNT, test_count=100), "train", place)


def feed_of(beton: Beton, **options):
    policy = parse("crop(pad_px=2), flip()", SIDE_PX, SIDE_PX)
    return stream.Stream(beton, np.arange(COUNT), policy=policy, **{"batch": 32, "seed": 3, "shuffle": True, **options})


def digest(feed, epoch: int = 0) -> str:
    """A hash of an epoch's images and indices."""
    hashed = hashlib.sha256()
    with feed.epoch(epoch) as batches:
        for batch in batches:
            hashed.update(batch.images_bhwc.numpy().tobytes() + batch.indices.numpy().tobytes())
    return hashed.hexdigest()


def raising(checks: Checks, place: Path) -> None:
    """an operation that raises, in each batch of an epoch: raised in the caller, and the next epoch is whole."""
    feed, augment = feed_of(beton_of(place)), stream.augment
    whole, threads = digest(feed), threading.active_count()

    def raises_at(bad: int, error: type[BaseException]) -> bool:
        may_fail = after(bad, partial(fail, error))
        stream.augment = lambda *words, **options: may_fail() or augment(*words, **options)
        try:
            digest(feed)
        except (KeyError, MemoryError, RuntimeError):
            stream.augment = augment
            return digest(feed) == whole and threading.active_count() == threads
        return False

    for bad in range(len(feed)):
        for error in (KeyError, MemoryError, StopIteration):
            checks.survives(lambda bad=bad, error=error: raises_at(bad, error))


def left_early(checks: Checks, place: Path) -> None:
    """200 epochs left early: no thread and no file stays open."""
    feed = feed_of(beton_of(place), batch=8)
    whole = digest(feed)

    def open_and_leave(epoch: int) -> bool:
        with feed.epoch(epoch) as batches:
            next(batches)
        return threading.active_count() == threads

    threads = threading.active_count()
    open_and_leave(0)
    files = len(os.listdir("/proc/self/fd"))
    for epoch in range(200):
        checks.survives(lambda epoch=epoch: open_and_leave(epoch))
    checks.survives(lambda: len(os.listdir("/proc/self/fd")) <= files and digest(feed) == whole)


def crowded(checks: Checks, place: Path) -> None:
    """64 workers on 1 core: the same bits."""
    beton = beton_of(place)
    alone = digest(feed_of(beton, threads=1))
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    checks.survives(lambda: digest(feed_of(beton, threads=64)) == alone)


def too_large(checks: Checks, place: Path) -> None:
    """a batch that is larger than the data."""
    beton = beton_of(place)
    checks.refuses(lambda: feed_of(beton, batch=COUNT + 1), "train.batch=301 is larger than the 300 training images")
    for more in ("--train.batch=121", "--train.batch=65536", "--train.accumulate=7"):
        words = [word for word in arguments(place / "run", place / "cache") if not word.startswith(more.split("=")[0])]
        checks.refuses(train_forked([*words, more], place / "log"), "larger than|more than")
    checks.survives(lambda: not (place / "run").exists())


def held(checks: Checks, place: Path) -> None:
    """batches that the caller holds never change."""
    beton = beton_of(place)
    for ahead in (1, 3):
        feed = feed_of(beton, batch=8, batches_ahead=ahead)

        def stay(feed=feed) -> bool:
            with feed.epoch() as batches:
                kept = [(batch, batch.images_bhwc.clone()) for batch in batches]
            digest(feed, 1)
            return len(kept) == len(feed) and all(bool((batch.images_bhwc == copy).all()) for batch, copy in kept)

        checks.survives(stay)


ROWS = (raising, left_early, crowded, too_large, held)
