"""CIFAR-10 and CIFAR-100 in the layout their author publishes (Krizhevsky, 2009): pickles, read as data only."""

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from loaders.common.errors import DataError
from loaders.common.files import check_readable, read_bounded, sha256_of_each
from loaders.sources.base import CIFAR_CLASSES, CIFAR_PX, Source, Split
from loaders.sources.cifar_layout import _PIXEL_BYTES, OFFICIAL, Official
from loaders.sources.unpickle import loads


def open_cifar(name: str, root: Path, labels: str, download: bool) -> Source:
    """Find the files (or fetch them), hash them, read the class names. Raises DataError."""
    official = OFFICIAL[name]
    folder = _find(official, root)
    if folder is None and download:
        from loaders.sources.cifar_download import fetch

        folder = fetch(official, root)
    if folder is None:
        raise DataError(f"data.root={root}: no {root / official.folder} with {', '.join(official.files)}; put {name}'s "
                        f"files there, or let them be fetched: --data.download=true")
    for file in official.files:
        if not os.path.exists(folder / file):
            raise DataError(f"{folder}: {file} is missing, so this is half a {name}; put it there, or remove the "
                            f"folder and let it be fetched: --data.download=true")
        check_readable(folder / file, official.max_bytes(file))

    class_names = _class_names(official, folder, labels, CIFAR_CLASSES[name][labels])
    digests = dict(zip(official.files, sha256_of_each([folder / file for file in official.files]), strict=True))
    told = repr((name, labels, sorted(digests.items())))
    return Source(name, class_names, CIFAR_PX, hashlib.sha256(told.encode()).hexdigest(), ("train", "test"),
                  partial(_read_split, official, folder, official.keys[labels][0], len(class_names), digests))


def _find(official: Official, root: Path) -> Path | None:
    """The folder to read: root/<official name>, or root itself where the class names lie in it."""
    if os.path.isdir(root / official.folder):
        return root / official.folder
    return root if os.path.isfile(root / official.meta) else None


def _class_names(official: Official, folder: Path, labels: str, count: int) -> tuple[str, ...]:
    path, key = folder / official.meta, official.keys[labels][1]
    names = loads(read_bounded(path, official.max_bytes(official.meta)), path).get(key)
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str | bytes) for name in names):
        raise DataError(f"{path}: holds no list of {count} {key}; put the official file in its place")
    texts = tuple(name.decode("latin-1") if isinstance(name, bytes) else name for name in names)
    if len(set(texts)) != count or not all(texts):
        raise DataError(f"{path}: {key} are not {count} different names; put the official file in its place")
    return texts


def _read_split(official: Official, folder: Path, key: str, classes: int, digests: dict[str, str], split: str) -> Split:
    """All files of a split, in order. images_nhwc is contiguous."""
    rows = official.rows[split]
    images_nhwc = np.empty((sum(rows.values()), CIFAR_PX, CIFAR_PX, 3), np.uint8)
    labels = np.empty(len(images_nhwc), np.int64)
    start = 0
    for file, count in rows.items():
        path = folder / file
        content = read_bounded(path, official.max_bytes(file))
        if hashlib.sha256(content).hexdigest() != digests[file]:
            raise DataError(f"{path}: changed since it was opened; start again when nothing writes to it")
        found = loads(content, path)
        del content
        planes = _pixels(path, found.get("data"), count).reshape(count, 3, CIFAR_PX, CIFAR_PX)
        images_nhwc[start:start + count] = planes.transpose(0, 2, 3, 1)
        labels[start:start + count] = _labels(path, key, found.get(key), count, classes)
        start += count
    return Split(images_nhwc, labels)


def _pixels(path: Path, data: object, count: int) -> np.ndarray:
    """uint8 (count, 3072): each row 1,024 red, 1,024 green, 1,024 blue values."""
    if not isinstance(data, np.ndarray):
        raise DataError(f"{path}: has no array 'data', so it is no CIFAR file; put the official file in its place")
    if data.dtype != np.uint8 or data.shape != (count, _PIXEL_BYTES):
        raise DataError(f"{path}: 'data' is {data.dtype} of shape {data.shape}, not uint8 of ({count}, {_PIXEL_BYTES})"
                        f"; put the official file in its place")
    return data


def _labels(path: Path, key: str, found: object, count: int, classes: int) -> np.ndarray:
    plain = found.tolist() if isinstance(found, np.ndarray) else found
    if not isinstance(plain, Sequence) or len(plain) != count or not all(type(label) is int for label in plain):
        raise DataError(f"{path}: '{key}' is no list of {count} whole numbers; put the official file in its place")
    if min(plain) < 0 or max(plain) >= classes:
        wrong = next(row for row, label in enumerate(plain) if not 0 <= label < classes)
        raise DataError(f"{path}: '{key}' is out of range in row {wrong}; {classes} classes are numbered 0 to "
                        f"{classes - 1}; put the official file in its place")
    return np.array(plain, np.int64)
