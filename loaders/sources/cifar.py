"""CIFAR-10 and CIFAR-100 in the published layout (Krizhevsky, 2009): pickles, read as data only."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from loaders.common.errors import DataError
from loaders.common.files import check_readable, read_bounded, sha256_of_each
from loaders.common.text import listed
from loaders.sources.base import Source, Split, digest_of, read_unchanged
from loaders.sources.cifar_layout import OFFICIAL, PIXEL_BYTES, SIDE_PX, Labels, Official
from loaders.sources.unpickle import loads, unusable


def open_cifar(name: str, root: Path, labels: str, download: bool) -> Source:
    """Find (or fetch) and hash the files, read the class names. Raises DataError."""
    official = OFFICIAL[name]
    folder: Path | None = root / official.folder
    if not os.path.isdir(folder):
        folder = root if os.path.isfile(root / official.meta) else None
    if folder is None and download:
        from loaders.sources.cifar_download import fetch

        folder = fetch(official, root)
    if folder is None:
        from loaders.sources.cifar_download import about_archive

        if found := about_archive(official, root):
            raise DataError(f"data.root={root}: no {root / official.folder}, but {found}")
        raise DataError(f"data.root={root}: no {root / official.folder} with {', '.join(official.files)}; put {name}'s "
                        f"files there, or fetch them: --data.download=true")
    missing = [file for file in official.files if not os.path.exists(folder / file)]
    if missing:
        raise DataError(f"{folder}: {listed(missing)} {'is' if len(missing) == 1 else 'are'} missing, so {name} is "
                        f"incomplete; put the official files there, or remove the folder and fetch it: "
                        f"--data.download=true")
    for file in official.files:
        check_readable(folder / file, official.max_bytes(file))

    class_names = _class_names(official, folder, official.labels[labels])
    digests = dict(zip(official.files, sha256_of_each([folder / file for file in official.files]), strict=True))
    return Source(name, class_names, SIDE_PX, digest_of(name, labels, sorted(digests.items())), ("train", "test"),
                  partial(_read_split, official, folder, official.labels[labels], digests))


def _class_names(official: Official, folder: Path, labels: Labels) -> tuple[str, ...]:
    path, (_, key, count) = folder / official.meta, labels
    names = loads(read_bounded(path, official.max_bytes(official.meta)), path).get(key)
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str | bytes) for name in names):
        raise unusable(path, f"holds no list of {count} {key}")
    texts = tuple(name.decode("latin-1") if isinstance(name, bytes) else name for name in names)
    if len(set(texts)) != count or not all(texts):
        raise unusable(path, f"{key} are not {count} different names")
    return texts


def _read_split(official: Official, folder: Path, labels: Labels, digests: dict[str, str], split: str) -> Split:
    """All files of a split, in order. images_nhwc is contiguous."""
    rows = official.rows[split]
    images_nhwc = np.empty((sum(rows.values()), SIDE_PX, SIDE_PX, 3), np.uint8)
    numbers = np.empty(len(images_nhwc), np.int64)
    start = 0
    for file, count in rows.items():
        path = folder / file
        found = loads(read_unchanged(path, official.max_bytes(file), digests[file]), path)
        planes = _pixels(path, found.get("data"), count).reshape(count, 3, SIDE_PX, SIDE_PX)
        images_nhwc[start:start + count] = planes.transpose(0, 2, 3, 1)
        numbers[start:start + count] = _labels(path, found.get(labels.key), count, labels)
        start += count
    return Split(images_nhwc, numbers)


def _pixels(path: Path, data: object, count: int) -> np.ndarray:
    """uint8 (count, 3072): each row 1,024 red, 1,024 green, 1,024 blue values."""
    if not isinstance(data, np.ndarray):
        raise unusable(path, "has no array 'data', so it is not a CIFAR file")
    if data.dtype != np.uint8 or data.shape != (count, PIXEL_BYTES):
        raise unusable(path, f"'data' is {data.dtype} of shape {data.shape}, not uint8 of ({count}, {PIXEL_BYTES})")
    return data


def _labels(path: Path, found: object, count: int, labels: Labels) -> np.ndarray:
    plain = found.tolist() if isinstance(found, np.ndarray) else found
    if not isinstance(plain, Sequence) or len(plain) != count or not all(type(label) is int for label in plain):
        raise unusable(path, f"'{labels.key}' is not a list of {count} whole numbers")
    wrong = next((row for row, label in enumerate(plain) if not 0 <= label < labels.classes), None)
    if wrong is not None:
        raise unusable(path, f"'{labels.key}' is out of range in row {wrong}; {labels.classes} classes are numbered 0 "
                             f"to {labels.classes - 1}")
    return np.array(plain, np.int64)
