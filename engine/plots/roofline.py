"""The roofline of a machine, with training steps as points under it.

After Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", CACM 52(4), 2009.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from engine.plots.figure import FONT_PT, dress, new_figure, write_png

# Okabe and Ito's colours, with dashes and marks that stay apart in grey.
ROOFS = (("#0072B2", "-"), ("#009E73", "--"), ("#555555", "-."))
POINTS = (("#D55E00", "o"), ("#CC79A7", "s"), ("#000000", "^"))
# How far the picture goes beyond what it shows, as a factor.
MARGIN = 6.0


def draw_roofline(flops_s: Mapping[str, float], bytes_s: float, points: Mapping[str, tuple[float, float]], path: Path,
                  title: str) -> Path:
    """Write the picture to `path`, whose folder exists.

    flops_s: precision -> measured FLOP/s; bytes_s: measured bytes a second. points: label -> (FLOP per byte, FLOP/s).
    All above 0. Raises ValueError for other figures and for more roofs or points than have a look; EngineError where
    the file cannot be written.
    """
    return write_png(roofline_figure(flops_s, bytes_s, points, title), path)


def roofline_figure(flops_s: Mapping[str, float], bytes_s: float, points: Mapping[str, tuple[float, float]],
                    title: str) -> Figure:
    """A roof for each precision: memory's slope up to where arithmetic's level begins; figures in the legend."""
    if not (0 < len(flops_s) <= len(ROOFS) and 0 < len(points) <= len(POINTS)):
        raise ValueError(f"{len(flops_s)} roofs and {len(points)} points: the picture has looks for 1 to {len(ROOFS)} "
                         f"and 1 to {len(POINTS)}")
    figures = [bytes_s, *flops_s.values(), *(figure for point in points.values() for figure in point)]
    if not all(np.isfinite(figure) and figure > 0 for figure in figures):
        raise ValueError("a roofline is logarithmic: all its figures must be finite and above 0")
    rate, bandwidth = EngFormatter("FLOP/s", places=1), EngFormatter("B/s", places=1)
    figure = new_figure(8, 5.5, title)
    axes = figure.add_subplot()
    dress(axes, "", "FLOP per byte (bytes estimated)", "FLOP/s")
    axes.set(xscale="log", yscale="log")
    # The roofs have their corners here.
    corners = [level / bytes_s for level in flops_s.values()]
    shown = [*corners, *(x for x, _ in points.values())]
    low, high = min(shown) / MARGIN, max(shown) * MARGIN
    for (name, level), corner, (colour, dashes) in zip(flops_s.items(), corners, ROOFS, strict=False):
        axes.plot([low, corner, high], [low * bytes_s, level, level], color=colour, linestyle=dashes, linewidth=2,
                  label=f"{name} products {rate(level)}, copies {bandwidth(bytes_s)}")
    for (name, (x, y)), (colour, mark) in zip(points.items(), POINTS, strict=False):
        axes.plot([x], [y], mark, color=colour, markersize=9, label=f"{name} {rate(y)} at {x:.3g} FLOP per byte")
    axes.set_xlim(low, high)
    heights = [*flops_s.values(), low * bytes_s, *(y for _, y in points.values())]
    axes.set_ylim(min(heights) / 2, max(heights) * 2)
    axes.yaxis.set_major_formatter(EngFormatter())
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=1, frameon=False, fontsize=FONT_PT - 1,
                borderaxespad=0.2)
    return figure
