"""The confusion matrix as a CSV table and a PNG."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from engine.common.files import make_folder, write_atomic
from engine.plots.figure import cut, new_figure, write_png

MOST_CLASSES_WITH_NUMBERS = 20
MOST_LABELS = 150
POINTS_PER_INCH = 72
COLOUR_TICKS = (0, 1, 5, 10, 25, 50, 75, 100)


def write_confusion(matrix: np.ndarray, class_names: Sequence[str], folder: Path,
                    stem: str = "confusion") -> tuple[Path, Path]:
    """Write confusion.csv and confusion.png, or those of another stem, into `folder`; returns their paths.

    `matrix` int64 (C, C): images of class `row` predicted as class `column`. The CSV's header holds the predicted
    names and its first column the true ones. Raises EngineError if the folder cannot be written.
    """
    make_folder(folder)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true \\ predicted", *class_names])
    writer.writerows([name, *row] for name, row in zip(class_names, matrix.tolist(), strict=True))
    csv_path = folder / f"{stem}.csv"
    write_atomic(csv_path, text.getvalue().encode())
    return csv_path, write_png(confusion_figure(matrix, class_names), folder / f"{stem}.png")


def shares_percent(matrix: np.ndarray) -> np.ndarray:
    """Each row in percent of its sum, float64 (C, C); NaN in the rows of classes without images."""
    totals = matrix.sum(axis=1, keepdims=True)
    return np.divide(100.0 * matrix, totals, out=np.full(matrix.shape, np.nan), where=totals > 0)


def confusion_figure(matrix: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Colours are percent of the true class, numbers (up to 20 classes) are images. The figure grows with the classes
    so that names do not overlap; above 150 classes it names every second, third ..."""
    count = len(matrix)
    numbers = count <= MOST_CLASSES_WITH_NUMBERS
    font_pt = 10 if numbers else 7
    cell_in = 0.55 if numbers else max(1.25 * font_pt / POINTS_PER_INCH, 7.0 / count)
    every = math.ceil(count / MOST_LABELS)
    cell_in /= every
    names = list(map(cut, class_names))
    # 0.6 em is the mean width of a letter; the colour bar needs about another inch, the axis labels half an inch.
    names_in = max(map(len, names)) * 0.6 * font_pt / POINTS_PER_INCH
    side_in = max(cell_in * count, 3.6)
    label_pt = max(12, round(side_in))
    figure = new_figure(side_in + names_in + 1.9, side_in + names_in + 1.3)
    axes = figure.add_subplot()
    shares = shares_percent(matrix)
    colours = colormaps["Blues"].with_extremes(bad="#dddddd")
    # Colours follow the square root: linear ones would hide the confusions of 1 % that matter.
    picture = axes.imshow(shares, cmap=colours, norm=PowerNorm(0.5, vmin=0, vmax=100), interpolation="nearest")
    places = range(0, count, every)
    axes.set_xticks(places, [names[i] for i in places], rotation=90, fontsize=font_pt, parse_math=False)
    axes.set_yticks(places, [names[i] for i in places], fontsize=font_pt, parse_math=False)
    axes.set_xlabel("predicted class", fontsize=label_pt)
    grey_note = " (grey: no images)" if np.isnan(shares).any() else ""
    axes.set_ylabel(f"true class{grey_note}", fontsize=label_pt)
    top1 = 100 * np.trace(matrix) / max(matrix.sum(), 1)
    counted = " (numbers)" if numbers else ""
    axes.set_title(f"{int(matrix.sum()):,} images{counted}, top-1 {top1:.2f} %", fontsize=label_pt + 1, loc="left")
    bar = figure.colorbar(picture, ax=axes, ticks=COLOUR_TICKS, shrink=0.8, fraction=0.05, pad=0.02, aspect=30)
    bar.ax.set_yticklabels([str(tick) for tick in COLOUR_TICKS], fontsize=label_pt - 2)
    bar.set_label("share of the true class (%)", fontsize=label_pt - 1)
    if numbers:
        for (row, column), images in np.ndenumerate(matrix):
            axes.text(column, row, str(images), ha="center", va="center", fontsize=font_pt - 1.5,
                      color="white" if shares[row, column] > 40 else "black")
    return figure
