"""Checks of a split before it is written, and statistics of its pixels."""

import numpy as np

from loaders.beton.file_format import PAGE_BYTES, Layout
from loaders.common.errors import DataError
from loaders.common.text import listed
from loaders.sources.base import Source, Split

MOST_SHOWN = 10


def check_content(source: Source, split: str, content: Split) -> tuple[int, ...]:
    """Images per class; DataError for invalid images, labels or class names."""
    what, images, labels, names = f"{source.name}, {split}", content.images_nhwc, content.labels, source.class_names
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or images.size == 0:
        raise DataError(f"{what}: images are {images.dtype} of shape {images.shape}; allowed are uint8 of (N, H, W, 3)")
    if Layout(*images.shape[:3]).images_per_page == 0:
        raise DataError(f"{what}: images of {images.shape[1]} x {images.shape[2]} pixels are larger than a page of "
                        f"{PAGE_BYTES >> 20} MiB; choose a smaller data.resolution")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise DataError(f"{what}: labels are {labels.dtype} of shape {labels.shape}; allowed are {len(images)} "
                        f"integers")
    if not all(isinstance(name, str) and name.isprintable() and name.strip() for name in names):
        raise DataError(f"{what}: class names must be printable text: got {list(names)[:5]!a}")
    if len(set(names)) != len(names):
        raise DataError(f"{what}: class names must differ from each other; {max(names, key=names.count)} appears twice")
    if labels.min() < 0 or labels.max() >= len(names):
        raise DataError(f"{what}: labels run from {labels.min()} to {labels.max()}; {len(names)} classes are numbered "
                        f"0 to {len(names) - 1}")
    counts = np.bincount(labels.astype(np.int64), minlength=len(names))
    if split == "train" and not counts.all():
        absent = listed([names[place] for place in np.flatnonzero(counts == 0)], MOST_SHOWN)
        raise DataError(f"{what}: no images of class {absent}; add some or remove the class")
    return tuple(counts.tolist())


def channel_statistics(images_nhwc: np.ndarray) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of red, green and blue over all pixels of uint8 (N, H, W, 3), in 0..1."""
    total, squares = np.zeros(3, np.int64), np.zeros(3, np.int64)
    rows = images_nhwc.reshape(-1, images_nhwc.shape[2] * 3)
    for start in range(0, len(rows), 4096):
        values = rows[start:start + 4096].astype(np.uint32)
        total += values.sum(0).reshape(-1, 3).sum(0).astype(np.int64)
        squares += (values * values).sum(0).reshape(-1, 3).sum(0).astype(np.int64)
    pixels = images_nhwc.size // 3
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())
