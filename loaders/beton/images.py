"""Reads a few images of a beton."""

import numpy as np

from loaders.beton.cache import Beton, pointers_of


def read_images(beton: Beton, indices: np.ndarray) -> np.ndarray:
    """uint8 (n, H, W, 3), in the order of `indices`; reads one image at a time."""
    pointers, shape = pointers_of(beton), (beton.height, beton.width, 3)
    mapped = np.memmap(beton.path, np.uint8, mode="r")
    image_bytes = int(np.prod(shape))
    return np.stack([mapped[at: at + image_bytes].reshape(shape) for at in pointers[indices].tolist()])
