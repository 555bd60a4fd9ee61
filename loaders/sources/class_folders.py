"""Class folders of image files: train/<class>/*, and optionally test/<class>/*."""

import hashlib
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from loaders.common.errors import DataError
from loaders.common.files import check_readable, sha256_of_each, why
from loaders.sources.base import Source, Split, memory_for, read_unchanged
from loaders.sources.image_file import square_rgb

MAX_FILE_BYTES = 512 << 20


def open_folder(root: Path, resolution: int) -> Source:
    """List and hash every file, except hidden ones. Classes are the folders in train; all entries are sorted by name.
    Raises DataError naming what is missing, empty or in the wrong place."""
    train = _list_split(root / "train")
    splits = {"train": train}
    if os.path.exists(root / "test"):
        splits["test"] = _list_split(root / "test")
        for name in splits["test"]:
            if name not in train:
                raise DataError(f"{root / 'test' / name}: is a class that {root / 'train'} does not have; "
                                f"rename it or add training images")
    if len(train) < 2:
        raise DataError(f"{root / 'train'}: has one class, {next(iter(train))}; at least two are needed")

    paths = [path for split in splits.values() for files in split.values() for path in files]
    digests = dict(zip(paths, sha256_of_each(paths), strict=True))
    digest = hashlib.sha256(repr(("folder", resolution)).encode())
    for path in paths:
        digest.update(repr((str(path.relative_to(root)), digests[path])).encode())
    return Source("folder", tuple(train), resolution, digest.hexdigest(), tuple(splits),
                  partial(_read_split, splits, tuple(train), digests, resolution))


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {why(error)}; class folders are "
                        f"--data.root=DIR with DIR/train/<class>/*") from error


def _list_split(folder: Path) -> dict[str, list[Path]]:
    """Class name → its files; DataError for an entry that is not a class folder, and for a class without files."""
    classes = {}
    for entry in _visible(folder):
        if not os.path.isdir(entry):
            raise DataError(f"{entry}: lies beside the class folders; images belong in {folder}/<class>/")
        classes[entry.name] = _visible(entry)
        if not classes[entry.name]:
            raise DataError(f"{entry}: is a class without images; add some or remove the folder")
        for path in classes[entry.name]:
            if os.path.isdir(path):
                raise DataError(f"{path}: is a folder; images lie directly in {entry}")
            check_readable(path, MAX_FILE_BYTES)
    if not classes:
        raise DataError(f"{folder}: has no class folders; images belong in {folder}/<class>/")
    return classes


def _read_split(splits: dict[str, dict[str, list[Path]]], class_names: tuple[str, ...], digests: dict[Path, str],
                resolution: int, split: str) -> Split:
    """Decode every image of a split (as square_rgb), class after class."""
    rows = [(class_names.index(name), path) for name, files in splits[split].items() for path in files]
    with memory_for(len(rows), resolution, f"data.resolution={resolution}"):
        images_nhwc = np.empty((len(rows), resolution, resolution, 3), np.uint8)

    def decode(row: int) -> None:
        path = rows[row][1]
        images_nhwc[row] = square_rgb(read_unchanged(path, MAX_FILE_BYTES, digests[path]), path, resolution)

    # The filter applies to the whole process: it is set here, not in each thread.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pool = ThreadPoolExecutor(max_workers=min(4, len(os.sched_getaffinity(0))))
        try:
            for _ in pool.map(decode, range(len(rows))):
                pass
        finally:
            pool.shutdown(cancel_futures=True)
    return Split(images_nhwc, np.array([label for label, _ in rows], np.int64))
