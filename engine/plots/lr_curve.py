"""The figure of a learning-rate range test: loss over rate, and the rates that it suggests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.plots.figure import draw, write_png
from engine.plots.figure_spec import BLUE, GREEN, GREY, VERMILION, FigureSpec, Line, Panel

BATCHES = "#9ec3dd"
MARKS = ((VERMILION, "-"), (GREEN, "--"), (GREY, ":"))


def draw_lr_curve(rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float],
                  marks: Mapping[str, float], path: Path, title: str) -> Path:
    """Write a figure of each step's loss as a dot, the smoothed one as a line and the marks as upright lines to `path`.

    rates, losses, smoothed: one value per step, rates rising and above 0. marks: a label for each of up to three rates.
    Raises ValueError for sequences of different or no length and for more marks, EngineError if `path` cannot be
    written.
    """
    if not len(rates) or not len(rates) == len(losses) == len(smoothed):
        raise ValueError(f"there must be a rate, a loss and a smoothed loss for each of one or more steps, not "
                         f"{len(rates)}, {len(losses)} and {len(smoothed)}")
    if len(marks) > len(MARKS):
        raise ValueError(f"{len(marks)} marks: the figure has looks for {len(MARKS)}")
    limits = loss_limits(losses)
    lines = [Line("each step", rates, losses, BATCHES, "", marker="."),
             Line("smoothed", rates, smoothed, BLUE, dots=False),
             *(Line(f"{label} {rate:.2g}", (rate, rate), limits, colour, dash, 1.8, dots=False)
               for (label, rate), (colour, dash) in zip(marks.items(), MARKS, strict=False))]
    panel = Panel("", "learning rate", "training loss", lines, y_limits=limits, x_scale="log")
    return write_png(draw(FigureSpec([panel]), title), path)


def loss_limits(losses: Sequence[float]) -> tuple[float, float]:
    """The range of loss that is shown: from the lowest to half as much again above the height of three quarters.

    At the end the loss grows without bound, which would press the rest flat: there it may leave the figure.
    """
    bottom, mostly = min(losses), np.quantile(losses, 0.75)
    height = max(mostly - bottom, 1e-6)
    return bottom - 0.05 * height, mostly + 0.5 * height
