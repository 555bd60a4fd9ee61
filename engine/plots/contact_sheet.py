"""Contact sheets of augmented images: a row per policy, a column per sample."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engine.plots.figure import new_figure, write_png


def draw_sheet(rows: Mapping[str, np.ndarray], path: Path, title: str = "") -> Path:
    """Write `rows` to `path`: title -> uint8 (n, height, width, 3), with the same n; sizes may differ between rows."""
    count = max(len(images) for images in rows.values())
    figure = new_figure(1.05 * count + 1.4, 1.15 * len(rows) + 0.4, title)
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, images) in zip(grid, rows.items(), strict=True):
        for axes in line:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        for axes, image in zip(line, images, strict=False):
            axes.imshow(image, interpolation="nearest")
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
    return write_png(figure, path)
