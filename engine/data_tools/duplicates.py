"""Images that come twice: exactly, by a hash of their pixels, and nearly, by what is left of them when made small."""

import hashlib
from collections.abc import Sequence

import numpy as np

SMALL_PX = 8
# Of small images: below this standard deviation (in grey levels) there is nothing to recognise one by.
PLAIN_LEVELS = 6.0
# Correlation from which two small images count as nearly the same. Looked at on CIFAR: above it nine of ten pairs are
# one picture, compressed, sharpened or recoloured (the tenth is two bare horizons); below it other things soon prevail.
NEAR = 0.98
# Beyond so many comparisons only every second, third ... image is compared: about half a minute on two cores.
MOST_COMPARISONS = 5_000_000_000
ROWS, COLUMNS = 512, 16_384


def digests_of(images_nhwc: np.ndarray) -> list[bytes]:
    """A 16-byte hash of each image's pixels: equal where, and but for chance only where, all pixels are equal."""
    return [hashlib.blake2b(image, digest_size=16).digest() for image in np.ascontiguousarray(images_nhwc)]


def small_of(images_nhwc: np.ndarray) -> np.ndarray:
    """float32 (N, 192): uint8 images averaged to 8 x 8, each channel less its mean, each row of length 1.

    The product of two rows is their correlation, which brightness, contrast and a colour cast leave as it is. Rows of
    plain images are 0. Height and width are at least 8.
    """
    count, height, width, channels = images_nhwc.shape
    sums = images_nhwc
    for axis, side in ((1, height), (2, width)):
        sums = np.add.reduceat(sums, np.arange(SMALL_PX) * side // SMALL_PX, axis=axis, dtype=np.uint32)
    areas = np.multiply.outer(*(np.diff(np.arange(SMALL_PX + 1) * side // SMALL_PX) for side in (height, width)))
    rows = (sums / areas[None, :, :, None]).astype(np.float32).reshape(count, -1, channels)
    rows = (rows - rows.mean(1, keepdims=True)).reshape(count, -1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > PLAIN_LEVELS * np.sqrt(rows.shape[1]))


def groups_of(digests: Sequence[bytes]) -> list[list[int]]:
    """The positions of equal digests, of each that comes twice or more often, in the order of their first."""
    places: dict[bytes, list[int]] = {}
    for position, digest in enumerate(digests):
        places.setdefault(digest, []).append(position)
    return [group for group in places.values() if len(group) > 1]


def found_again(digests: Sequence[bytes], among: Sequence[bytes]) -> list[tuple[int, int]]:
    """(position, position of the first that equals it in `among`) of each digest that `among` holds."""
    first: dict[bytes, int] = {}
    for position, digest in enumerate(among):
        first.setdefault(digest, position)
    return [(position, first[digest]) for position, digest in enumerate(digests) if digest in first]


def every(count: int, among: int) -> int:
    """1 where `count` images can be compared with `among` others, else every how many of them can."""
    return max(1, -(-count * among // MOST_COMPARISONS))


def nearest(small: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each row of `small`: which row of `among` is most like it, int64 (N,), and their correlation, float32 (N,)."""
    which, best = np.zeros(len(small), np.int64), np.full(len(small), -1, np.float32)
    for row in range(0, len(small), ROWS):
        mine = slice(row, row + ROWS)
        for column in range(0, len(among), COLUMNS):
            products = small[mine] @ among[column:column + COLUMNS].T
            found = products.argmax(1)
            highest = products[np.arange(len(found)), found]
            better = highest > best[mine]
            which[mine] = np.where(better, column + found, which[mine])
            best[mine] = np.where(better, highest, best[mine])
    return which, best
