"""The picture of a learning-rate range test: loss over rate, and the rates that it suggests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from engine.plots.figure import FONT_PT, dress, new_figure, write_png

CURVE = "#0072B2"
BATCHES = "#9ec3dd"
# Okabe and Ito's again, with dashes that stay apart in grey.
MARKS = (("#D55E00", "-"), ("#009E73", "--"), ("#555555", ":"))


def draw_lr_curve(rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float],
                  marks: Mapping[str, float], path: Path, title: str) -> Path:
    """Write the picture to `path`, whose folder exists.

    rates, losses, smoothed: one value a step, rates rising and above 0. marks: a label for each of up to three rates,
    drawn as upright lines. Raises ValueError for sequences of different or no length and for more marks; EngineError
    where the file cannot be written.
    """
    return write_png(lr_figure(rates, losses, smoothed, marks, title), path)


def lr_figure(rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float],
              marks: Mapping[str, float], title: str) -> Figure:
    """The figure: each step's loss as a dot, the smoothed one as a line, the marks with their rates in the legend."""
    if not len(rates) or not len(rates) == len(losses) == len(smoothed):
        raise ValueError(f"there must be a rate, a loss and a smoothed loss for each of one or more steps, not "
                         f"{len(rates)}, {len(losses)} and {len(smoothed)}")
    if len(marks) > len(MARKS):
        raise ValueError(f"{len(marks)} marks: the picture has looks for {len(MARKS)}")
    figure = new_figure(8, 5, title)
    axes = figure.add_subplot()
    dress(axes, "", "learning rate", "training loss")
    axes.set_xscale("log")
    axes.plot(rates, losses, ".", color=BATCHES, markersize=4, label="each step")
    axes.plot(rates, smoothed, color=CURVE, linewidth=2, label="smoothed")
    for (label, rate), (colour, dashes) in zip(marks.items(), MARKS, strict=False):
        axes.axvline(rate, color=colour, linestyle=dashes, linewidth=1.8, label=f"{label} {rate:.2g}")
    axes.set_ylim(*loss_limits(losses))
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3, frameon=False, fontsize=FONT_PT - 1,
                borderaxespad=0.2, columnspacing=1.4)
    return figure


def loss_limits(losses: Sequence[float]) -> tuple[float, float]:
    """From where to where the loss is shown: the lowest, and half as much again above the height it has mostly had.

    At the end it grows without bound, which would press the rest flat: there it may leave the picture.
    """
    bottom, mostly = min(losses), np.quantile(losses, 0.75)
    height = max(mostly - bottom, 1e-6)
    return bottom - 0.05 * height, mostly + 0.5 * height
