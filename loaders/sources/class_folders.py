"""A user's images in class folders: train/<class>/*, and optionally val/<class>/* and test/<class>/*."""

import hashlib
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from loaders.common.errors import DataError, Faults
from loaders.common.files import sha256_of_each
from loaders.sources.base import Source, Split, memory_for, read_unchanged
from loaders.sources.float_images import dark_notes, highest_value, white_of
from loaders.sources.folder_layout import MAX_FILE_BYTES, list_folder
from loaders.sources.image_file import square_rgb

# The first bytes of the kinds of file that may hold floating-point values, whatever their names: TIFF and PFM.
FLOAT_KINDS = (b"II", b"MM", b"Pf")
_THREADS = min(4, len(os.sched_getaffinity(0)))


def open_folder(root: Path, resolution: int, float_max: int | None = None) -> Source:
    """List and hash every image (see folder_layout). Classes are the folders of the training images. float_max: white
    of floating-point images, 1 or 255; None: as all of them tell. Raises DataError naming all that is wrong."""
    listing = list_folder(root)
    paths = [path for classes in listing.files.values() for files in classes.values() for path in files]
    highest, notes = _highest_values(paths), listing.notes
    if highest:
        float_max = float_max or white_of(highest)
        notes += dark_notes(highest, float_max)
    digests = dict(zip(paths, sha256_of_each(paths), strict=True))
    digest = hashlib.sha256(repr(("folder", resolution)).encode())
    for path in paths:
        digest.update(repr((str(path.relative_to(root)), digests[path])).encode())
    if highest:
        # Betons from when each image had a scale of its own are not used again.
        digest.update(repr(("float_max", float_max)).encode())
    class_names = tuple(listing.files["train"])
    return Source("folder", class_names, resolution, digest.hexdigest(), tuple(listing.files),
                  partial(_read_split, listing.files, class_names, digests, resolution, float_max or 1),
                  listing.folders, notes, float_max if highest else None)


def _highest_values(paths: list[Path]) -> dict[Path, float]:
    """The highest value of each floating-point image."""
    def first_bytes(path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                return file.read(2)
        except OSError:  # it is told where the file is hashed
            return b""

    possible = [path for path in paths if first_bytes(path) in FLOAT_KINDS]
    with warnings.catch_warnings(), ThreadPoolExecutor(_THREADS) as pool:
        warnings.simplefilter("ignore")
        highest = dict(zip(possible, pool.map(highest_value, possible), strict=True))
    return {path: value for path, value in highest.items() if value is not None}


def _read_split(files: dict[str, dict[str, list[Path]]], class_names: tuple[str, ...], digests: dict[Path, str],
                resolution: int, float_max: int, split: str) -> Split:
    """Decode every image of a split (as square_rgb), class after class. DataError naming the bad files of all splits.
    """
    rows = [(class_names.index(name), path) for name, paths in files[split].items() for path in paths]
    with memory_for(len(rows), resolution, f"data.resolution={resolution}"):
        images_nhwc = np.empty((len(rows), resolution, resolution, 3), np.uint8)

    def attempt(path: Path, row: int | None = None) -> DataError | None:
        try:
            pixels = square_rgb(read_unchanged(path, MAX_FILE_BYTES, digests[path]), path, resolution, float_max)
        except DataError as error:
            return error
        if row is not None:
            images_nhwc[row] = pixels
        return None

    paths, faults = [path for _, path in rows], Faults()
    # The filter applies to the whole process: it is set here, not in each thread.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pool = ThreadPoolExecutor(_THREADS)
        try:
            outcomes = dict(zip(paths, pool.map(attempt, paths, range(len(paths))), strict=True))
            if any(outcomes.values()):
                others = [path for path in digests if path not in outcomes]
                outcomes |= dict(zip(others, pool.map(attempt, others), strict=True))
        finally:
            pool.shutdown(cancel_futures=True)
    for path, error in outcomes.items():
        if error:
            faults.add(path, str(error).removeprefix(f"{path}: "))
    faults.refuse()
    return Split(images_nhwc, np.array([label for label, _ in rows], np.int64))
