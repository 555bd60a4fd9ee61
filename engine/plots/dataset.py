"""Figures of a data set: images per class, pixel values per channel, samples, duplicate images."""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from engine.plots.curves import LOOKS
from engine.plots.figure import FONT_PT, cut, dress, legend_above, new_figure, write_png
from engine.plots.image_grids import in_a_row

MOST_CLASSES = 120
MOST_PAIRS = 16
MOST_PX = 64
TITLE_IN = 0.5
FEW_CLASSES = 20
CHANNELS = {"red": "#c43c39", "green": "#3b8c3b", "blue": "#3a63b8"}
WRONG = "#b00020"


def samples_a_class(classes: int) -> int:
    """How many images of each class fit into the figure of samples."""
    return 12 if classes <= FEW_CLASSES else 6


def draw_overview(class_names: Sequence[str], counts: Mapping[str, Sequence[int]], histogram: np.ndarray,
                  normalisation: tuple[Sequence[float], Sequence[float]], whose: str, path: Path, title: str) -> Path:
    """Write a figure of the images per class in each split, and of the pixel values of the training images, to `path`.

    counts: split -> images per class. histogram: int64 (3, 256), how often red, green and blue take each value.
    normalisation: (mean, std) of the settings, in 0..1, which `whose` names.
    """
    figure = new_figure(13, 8, title)
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    counts_panel(upper.subplots(), class_names, counts)
    grid = lower.subplots(1, 3, sharey=True)
    for place, (name, colour), values, mean, std in zip(grid, CHANNELS.items(), histogram, *normalisation, strict=True):
        channel_panel(place, name, colour, values, mean, std)
    grid[0].set_ylabel("share of the pixels (%)", fontsize=FONT_PT)
    lower.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False,
                 fontsize=FONT_PT - 1, title=f"settings: {whose}", title_fontsize=FONT_PT - 1)
    return write_png(figure, path)


def counts_panel(axes: Axes, class_names: Sequence[str], counts: Mapping[str, Sequence[int]]) -> None:
    """A bar per class and split; above 120 classes only every second, third ... has its name."""
    dress(axes, "", "", "images")
    places, width = np.arange(len(class_names)), 0.8 / len(counts)
    for number, (split, values) in enumerate(counts.items()):
        least, most = min(values), max(values)
        each = f"{most:,} each" if least == most else f"{least:,} to {most:,} each"
        axes.bar(places + (number - (len(counts) - 1) / 2) * width, values, width, color=LOOKS[split][0],
                 label=f"{split}: {sum(values):,} images, {each}")
    named = places[::math.ceil(len(class_names) / MOST_CLASSES)]
    many = len(class_names) > FEW_CLASSES
    axes.set_xticks(named, [cut(class_names[place]) for place in named], rotation=90 if many else 30,
                    ha="center" if many else "right", rotation_mode="default" if many else "anchor",
                    fontsize=7 if many else FONT_PT - 1, parse_math=False)
    axes.set_xlim(-0.7, len(class_names) - 0.3)
    axes.yaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.grid(False, axis="x")
    legend_above(axes, f"Images of each of {len(class_names)} classes", columns=3)


def channel_panel(axes: Axes, name: str, colour: str, histogram: np.ndarray, mean: float, std: float) -> None:
    """How often a channel has each value, its mean, and the mean and deviation in the settings."""
    values, shares = np.arange(256) / 255, 100 * histogram / histogram.sum()
    own_mean = float(values @ shares / 100)
    own_std = math.sqrt(float((values - own_mean)**2 @ shares / 100))
    dress(axes, f"{name}: mean {own_mean:.4f}, deviation {own_std:.4f}", "pixel value", "")
    axes.axvspan(mean - std, mean + std, color="#eeeeee", zorder=0, label="mean ± deviation of the settings")
    axes.axvline(mean, color="black", linestyle="--", linewidth=1.2, label="mean of the settings")
    axes.fill_between(values, shares, step="mid", color=colour, alpha=0.75, linewidth=0)
    axes.axvline(own_mean, color="black", linewidth=1.2, label="mean of the pixels")
    # Peaks at black and white would flatten the rest: they may leave the figure, which then states them.
    top = 1.6 * np.sort(shares)[-6] or 1.05 * shares.max()
    for value, x, side in ((0, 0.02, "left"), (255, 0.98, "right")):
        if shares[value] > top:
            axes.text(x, 0.97, f"{value // 255}: {shares[value]:.1f} %", transform=axes.transAxes, ha=side, va="top",
                      fontsize=FONT_PT - 1)
    axes.set_ylim(0, top)
    axes.set_xlim(0, 1)


def draw_samples(class_names: Sequence[str], samples: Sequence[np.ndarray], path: Path, title: str) -> Path:
    """Write a figure with a row of images per class to `path`, in one block up to 20 classes, then in up to 4. samples:
    uint8 (n, H, W, 3) for each of up to 120 classes."""
    shown = len(samples)
    if shown < len(class_names):
        title += f" (the first {shown} of {len(class_names)} classes)"
    blocks = min(4, math.ceil(shown / FEW_CLASSES))
    rows, across = math.ceil(shown / blocks), max(map(len, samples))
    cell_in, font_pt = (0.62, 11) if blocks == 1 else (0.46, 9)
    names = [cut(name) for name in class_names[:shown]]
    figure = new_figure(max(6.0, blocks * across * cell_in), rows * cell_in + TITLE_IN, title)
    for number, axes in enumerate(figure.subplots(1, blocks, squeeze=False)[0]):
        part = slice(number * rows, min((number + 1) * rows, shown))
        tiles = mosaic(samples[part], rows, across)
        axes.imshow(tiles, interpolation="nearest", aspect="auto")
        step = tiles.shape[0] / rows
        axes.set_yticks([(row + 0.5) * step for row in range(len(names[part]))], names[part], fontsize=font_pt,
                        parse_math=False)
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    place_blocks(figure, across * cell_in, rows * cell_in)
    return write_png(figure, path)


def place_blocks(figure: Figure, block_in: float, height_in: float) -> None:
    """Give each block of images its size in inches, and its names enough space on its left: the constrained layout
    assumes that images fill their axes, and would cut names."""
    labels = [label for axes in figure.axes for label in axes.get_yticklabels()]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        names_in = max(label.get_window_extent().width for label in labels) / figure.dpi + 0.2
    count = len(figure.axes)
    wide_in, high_in = max(6.0, count * (names_in + block_in) + 0.1), height_in + TITLE_IN
    figure.set_layout_engine("none")
    figure.set_size_inches(wide_in, high_in)
    for text in figure.texts:
        text.set_y(1 - 0.1 / high_in)
    for number, axes in enumerate(figure.axes):
        left_in = number * (names_in + block_in) + names_in
        axes.set_position([left_in / wide_in, 0.05 / high_in, block_in / wide_in, height_in / high_in])


def mosaic(samples: Sequence[np.ndarray], rows: int, across: int) -> np.ndarray:
    """uint8 (rows * cell, across * cell, 3): the images in rows on white, scaled down if above 64 px."""
    side_px = min(MOST_PX, max(samples[0].shape[1:3]))
    gap_px = max(1, side_px // 16)
    cell_px = side_px + gap_px
    tiles = np.full((rows * cell_px, across * cell_px, 3), 255, np.uint8)
    for row, images in enumerate(samples):
        for column, image in enumerate(images):
            small = Image.fromarray(image)
            small.thumbnail((side_px, side_px), Image.Resampling.BOX)
            top, left = row * cell_px + gap_px // 2, column * cell_px + gap_px // 2
            tiles[top:top + small.height, left:left + small.width] = small
    return tiles


def draw_pairs(captions: Sequence[tuple[str, str, str, str, str]], images: np.ndarray, title: str, path: Path) -> Path:
    """Write a figure of up to 16 pairs of images, uint8 (n, 2, H, W, 3), to `path`. captions: each pair's first image
    and its class, second image and its class, and similarity. Different classes are red."""
    across = min(4, len(images))
    down = math.ceil(len(images) / across)
    figure = new_figure(max(8.0, 3.3 * across), 2.0 * down + 0.4, title)
    places = figure.subplots(down, across, squeeze=False).flatten()
    for axes in places:
        axes.set_axis_off()
    for axes, (one, first, other, second, alike), pair in zip(places, captions, images, strict=False):
        axes.imshow(in_a_row(pair), interpolation="nearest")
        axes.set_title(f"{one} | {other}: {alike}\n{cut(first)} | {cut(second)}", fontsize=8,
                       color="black" if first == second else WRONG, parse_math=False)
    return write_png(figure, path)
