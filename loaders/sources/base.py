"""The interface of a source of images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loaders.common.errors import DataError
from loaders.common.files import read_bounded
from loaders.common.text import one_form

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Split:
    """One split. images_nhwc: uint8 (N, H, W, 3), RGB; labels: int64 (N,), 0 to classes - 1."""

    images_nhwc: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about a data set that need no decoding: images per split, classes. validation: images of that split, where
    the data set has one."""

    train: int
    test: int
    classes: int
    validation: int = 0


@dataclass(frozen=True)
class Source:
    """An opened data set. fingerprint: SHA-256 (hex) of the raw content of all splits and of every setting that changes
    a pixel or a label. read(split) raises DataError for bad content or content with another fingerprint.

    folders: the folder of each split, where each has its own. notes: lines for the user on what was not read.
    float_max: what its floating-point images show as white, where it has any.
    """

    name: str
    class_names: tuple[str, ...]
    resolution: int
    fingerprint: str
    splits: tuple[str, ...]
    read: Callable[[str], Split]
    folders: Mapping[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    float_max: int | None = None

    def in_order_of(self, class_names: Sequence[str]) -> Source | None:
        """The data set with its classes in another order, called and numbered as in `class_names`; None if the names
        are not the same. Unicode forms of one name are the same."""
        if self.class_names == tuple(class_names):
            return self
        numbers = {one_form(name): number for number, name in enumerate(class_names)}
        own = [one_form(name) for name in self.class_names]
        if set(own) != set(numbers) or len(own) != len(class_names):
            return None

        def read(split: str) -> Split:
            import numpy as np

            content = self.read(split)
            return Split(content.images_nhwc, np.array([numbers[name] for name in own])[content.labels])

        return replace(self, class_names=tuple(class_names), read=read)


def digest_of(*parts: object) -> str:
    """SHA-256 (hex) of plain values."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def read_unchanged(path: Path, max_bytes: int, sha256: str) -> bytes:
    """The content of a file with this SHA-256 (hex); DataError if it cannot be read or has changed."""
    content = read_bounded(path, max_bytes)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{path}: changed since it was opened; start again when nothing writes to it")
    return content


@contextmanager
def memory_for(count: int, side_px: int, setting: str) -> Iterator[None]:
    """Turn a failed allocation of images into a DataError that names the setting to change."""
    try:
        yield
    except (MemoryError, ValueError) as error:
        raise DataError(f"{setting}: {count} images of {side_px} x {side_px} pixels do not fit into memory; choose "
                        "fewer or smaller ones") from error
