"""The figure of a learning-rate range test: loss over rate, and the suggested rates."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.plots.figure import draw, write_png
from engine.plots.figure_spec import BLUE, GREEN, GREY, VERMILION, FigureSpec, Line, Panel

BATCHES = "#9ec3dd"
MARKS = ((VERMILION, "-"), (GREEN, "--"), (GREY, ":"))


def draw_lr_curve(rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float],
                  marks: Mapping[str, float], path: Path, title: str) -> Path:
    """Write a figure with each step's loss as a dot, the smoothed loss as a line and marks as upright lines to `path`.

    rates, losses, smoothed: one value per step, rates rising and above 0. marks: label -> rate, up to three. Raises
    EngineError if `path` cannot be written.
    """
    # At the end the loss grows without bound, and may leave the figure.
    bottom, mostly = min(losses), np.quantile(losses, 0.75)
    height = max(mostly - bottom, 1e-6)
    limits = bottom - 0.05 * height, mostly + 0.5 * height
    lines = [Line("each step", rates, losses, BATCHES, "", marker="."),
             Line("smoothed", rates, smoothed, BLUE, dots=False),
             *(Line(f"{label} {rate:.2g}", (rate, rate), limits, colour, dash, 1.8, dots=False)
               for (label, rate), (colour, dash) in zip(marks.items(), MARKS, strict=False))]
    panel = Panel("", "learning rate", "training loss", lines, y_limits=limits, x_scale="log")
    return write_png(draw(FigureSpec([panel]), title), path)
