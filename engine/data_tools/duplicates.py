"""Duplicate images: exact ones by a hash of their pixels, near ones by the correlation of their thumbnails."""

import hashlib
from collections.abc import Sequence

import numpy as np

THUMBNAIL_PX = 8
# Thumbnails with a smaller standard deviation (in grey levels) are too plain to compare.
PLAIN_LEVELS = 6.0
# Images whose thumbnails correlate at least this much are near duplicates. On CIFAR nine of ten such pairs show one
# picture, compressed, sharpened or recoloured (the tenth: two bare horizons); below it most pairs soon differ.
NEAR = 0.98
# Beyond this many comparisons (about half a minute on two cores), compare only every second, third ... image.
MOST_COMPARISONS = 5_000_000_000
ROWS, COLUMNS = 512, 16_384


def digests_of(images_nhwc: np.ndarray) -> list[bytes]:
    """A 16-byte hash of each image's pixels."""
    return [hashlib.blake2b(image, digest_size=16).digest() for image in np.ascontiguousarray(images_nhwc)]


def thumbnails_of(images_nhwc: np.ndarray) -> np.ndarray:
    """float32 (N, 192): uint8 images averaged to 8 x 8, each channel minus its mean, each row of length 1.

    The product of two rows is their correlation, which does not depend on brightness, contrast or a colour cast. Rows
    of plain images are 0. Height and width are at least 8.
    """
    count, height, width, channels = images_nhwc.shape
    sums = images_nhwc
    for axis, side in ((1, height), (2, width)):
        sums = np.add.reduceat(sums, np.arange(THUMBNAIL_PX) * side // THUMBNAIL_PX, axis=axis, dtype=np.uint32)
    areas = np.multiply.outer(*(np.diff(np.arange(THUMBNAIL_PX + 1) * side // THUMBNAIL_PX)
                                for side in (height, width)))
    rows = (sums / areas[None, :, :, None]).astype(np.float32).reshape(count, -1, channels)
    rows = (rows - rows.mean(1, keepdims=True)).reshape(count, -1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > PLAIN_LEVELS * np.sqrt(rows.shape[1]))


def groups_of(digests: Sequence[bytes]) -> list[list[int]]:
    """The positions of each digest that occurs more than once, ordered by the first."""
    places: dict[bytes, list[int]] = {}
    for position, digest in enumerate(digests):
        places.setdefault(digest, []).append(position)
    return [group for group in places.values() if len(group) > 1]


def pairs_between(digests: Sequence[bytes], others: Sequence[bytes]) -> list[tuple[int, int]]:
    """(position, position of the first equal digest in `others`) of each digest that `others` has."""
    first = {digest: position for position, digest in reversed(list(enumerate(others)))}
    return [(position, first[digest]) for position, digest in enumerate(digests) if digest in first]


def comparison_step(count: int, others: int) -> int:
    """1 to compare all `count` images with `others`, 2 to compare only every second one, and so on."""
    return max(1, -(-count * others // MOST_COMPARISONS))


def nearest(thumbnails: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each thumbnail: the most similar row of `others`, int64 (N,), and their correlation, float32 (N,)."""
    which, best = np.zeros(len(thumbnails), np.int64), np.full(len(thumbnails), -1, np.float32)
    for row in range(0, len(thumbnails), ROWS):
        block = slice(row, row + ROWS)
        for column in range(0, len(others), COLUMNS):
            products = thumbnails[block] @ others[column:column + COLUMNS].T
            found = products.argmax(1)
            highest = products[np.arange(len(found)), found]
            better = highest > best[block]
            which[block] = np.where(better, column + found, which[block])
            best[block] = np.where(better, highest, best[block])
    return which, best
