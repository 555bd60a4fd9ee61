"""Betons on disk: written once to a cache, verified before every use, and never incomplete.

A beton's name holds a hash of its content and settings, so other content or settings give another file. It is valid
only with its manifest, which is written last. A beton that does not match its manifest is written again, to a new file.
"""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from loaders.beton import file_format, manifest
from loaders.beton.content import channel_statistics, check_content
from loaders.beton.manifest import Beton
from loaders.common.errors import DataError
from loaders.common.files import remove_leftovers, sha256_of, take_lock, why, write_durably
from loaders.sources.base import Source, digest_of

# Part of the key: raise it when the same images give other bytes.
_WRITER_VERSION = 1
_SPARE_BYTES = 1 << 20


class Damaged(ValueError):
    """A beton in the cache cannot be used, and why."""


def ensure(source: Source, split: str, cache: str | Path, *, on_progress: Callable[[int, int], None] | None = None,
           on_warning: Callable[[str], None] | None = None) -> Beton:
    """The verified beton of a split of `source`; if missing or damaged, it is first written to the folder `cache`.

    on_progress(samples done, all samples) is called during writing; on_warning(line) for a damaged beton, and when
    another process writes and this one waits. Raises DataError for bad data, a full disk, or a cache that cannot be
    written. An interruption leaves nothing that would be read.
    """
    warn = on_warning or (lambda line: None)
    key = digest_of(_WRITER_VERSION, file_format.VERSION, file_format.PAGE_BYTES, source.name, source.fingerprint,
                    source.class_names, split)
    path = Path(cache) / f"{source.name}-{split}-{key[:16]}.beton"
    lock = path.with_name(f".{path.stem}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(lock, fcntl.LOCK_SH, warn):
            beton = _look(path, key, lambda line: None)
        if beton is None:
            with _locked(lock, fcntl.LOCK_EX, warn):
                beton = _look(path, key, warn) or _write(source, split, path, key, on_progress)
        return beton
    except OSError as error:
        raise DataError(f"{path.parent}: cannot keep {path.name}: {why(error)}; free some space or choose another "
                        f"folder for the cache") from error


def verify(path: Path, key: str) -> Beton:
    """Check a beton, its manifest and its key against each other, the whole file last; raises Damaged or OSError."""
    try:
        beton = manifest.read(path)
        if beton.key != key:
            raise Damaged("its manifest is that of another beton")
        labels, _ = _samples(beton)
    except FileNotFoundError as error:
        raise Damaged(f"{Path(error.filename).name} is missing") from error
    except ValueError as error:
        raise Damaged(str(error)) from error
    if tuple(np.bincount(labels, minlength=len(beton.class_names)).tolist()) != beton.class_counts:
        raise Damaged("its labels do not match its manifest's counts")
    if sha256_of(path) != beton.sha256:
        raise Damaged("its content does not match its checksum")
    return beton


def labels_of(beton: Beton) -> np.ndarray:
    """int64 (N,), from the file's metadata; DataError if the file does not match `beton`."""
    return _described(beton)[0]


def pointers_of(beton: Beton) -> np.ndarray:
    """uint64 (N,): the byte offset of each image (height * width * 3 bytes) in the file. Raises as labels_of."""
    return _described(beton)[1]


def _described(beton: Beton) -> tuple[np.ndarray, np.ndarray]:
    try:
        return _samples(beton)
    except OSError as error:
        raise DataError(f"{beton.path}: cannot be read: {why(error)}; start again, which rewrites it") from error
    except ValueError as error:
        raise DataError(f"{beton.path}: has changed since it was checked: {error}; start again, which rewrites it"
                        ) from error


def _samples(beton: Beton) -> tuple[np.ndarray, np.ndarray]:
    layout = file_format.Layout(beton.samples, beton.height, beton.width)
    return file_format.read_samples(beton.path, layout, len(beton.class_names))


@contextmanager
def _locked(path: Path, kind: int, warn: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock file, shared to read or exclusive to write. It is never removed: that would let two writers in."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        # Nobody writes to a read-only cache, so reading needs no lock.
        if kind == fcntl.LOCK_SH and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            yield
            return
        raise
    try:
        try:
            if not take_lock(lock, kind | fcntl.LOCK_NB) and kind == fcntl.LOCK_EX:
                warn(f"{path.parent}: its file system has no locks; let no other process write to this cache")
        except BlockingIOError:
            warn(f"{path.parent}: another process is writing {path.stem[1:]}; waiting for it")
            take_lock(lock, kind)
        yield
    finally:
        os.close(lock)


def _look(path: Path, key: str, warn: Callable[[str], None]) -> Beton | None:
    """The beton if it is valid, else None, with a warning if a file exists."""
    if not path.exists() and not manifest.path_of(path).exists():
        return None
    try:
        return verify(path, key)
    except Damaged as fault:
        warn(f"{path}: {fault}; rewriting it")
        return None


def _write(source: Source, split: str, path: Path, key: str, on_progress: Callable[[int, int], None] | None) -> Beton:
    content = source.read(split)
    counts = check_content(source, split, content)
    samples, height, width, _ = content.images_nhwc.shape
    layout = file_format.Layout(samples, height, width)
    free_bytes = shutil.disk_usage(path.parent).free
    if free_bytes < layout.file_bytes + _SPARE_BYTES:
        raise DataError(f"{path.parent}: has {free_bytes / 1e6:,.0f} MB free, and {path.name} takes "
                        f"{layout.file_bytes / 1e6:,.0f} MB; free some space or choose another folder for the cache")
    remove_leftovers(path)
    remove_leftovers(manifest.path_of(path))
    digest = hashlib.sha256()

    def counted_blocks() -> Iterator[bytes | memoryview]:
        done = 0
        for count, block in file_format.blocks(content.images_nhwc, content.labels):
            digest.update(block)
            yield block
            done += count
            if on_progress:
                on_progress(done, samples)

    write_durably(path, counted_blocks())
    mean, std = channel_statistics(content.images_nhwc)
    beton = Beton(path, source.name, split, samples, height, width, source.class_names, counts, mean, std,
                  layout.file_bytes, digest.hexdigest(), key, source.fingerprint)
    write_durably(manifest.path_of(path), [manifest.dumps(beton).encode()])
    return beton
