"""Small data sets in class folders."""

import numpy as np
from PIL import Image


def fill(root, counts, seed=0):
    """Class folders in `root` that hold `counts` images of 16 px: {"train/ant": 20}; each class is of one colour."""
    draws, shades = np.random.default_rng(seed), {}
    for folder, count in counts.items():
        shade = shades.setdefault(folder.rpartition("/")[2], 60 * len(shades))
        (root / folder).mkdir(parents=True)
        for number in range(count):
            pixels = draws.integers(shade, shade + 90, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number:02}.png")
    return root
