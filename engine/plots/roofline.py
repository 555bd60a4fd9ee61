"""A machine's roofline, with training steps as points below it.

After Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", CACM 52(4), 2009.
"""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.ticker import EngFormatter

from engine.plots.figure import draw, write_png
from engine.plots.figure_spec import BLACK, BLUE, GREEN, GREY, PINK, VERMILION, FigureSpec, Line, Panel

ROOFS = ((BLUE, "-"), (GREEN, "--"), (GREY, "-."))
POINTS = ((VERMILION, "o"), (PINK, "s"), (BLACK, "^"))
# The figure extends by this factor beyond its corners and points.
MARGIN = 6.0


def draw_roofline(flops_s: Mapping[str, float], bytes_s: float, points: Mapping[str, tuple[float, float]], path: Path,
                  title: str) -> Path:
    """Write a figure to `path` with a roof per precision: memory's slope up to the level of arithmetic.

    flops_s: precision -> measured FLOP/s; bytes_s: measured bytes per second. points: label -> (FLOP per byte, FLOP/s).
    Up to three roofs and points, all numbers above 0. Raises EngineError if `path` cannot be written.
    """
    rate, bandwidth = EngFormatter("FLOP/s", places=1), EngFormatter("B/s", places=1)
    corners = [level / bytes_s for level in flops_s.values()]
    shown = [*corners, *(x for x, _ in points.values())]
    low, high = min(shown) / MARGIN, max(shown) * MARGIN
    heights = [*flops_s.values(), low * bytes_s, *(y for _, y in points.values())]
    lines = [Line(f"{name} products {rate(level)}, copies {bandwidth(bytes_s)}", (low, corner, high),
                  (low * bytes_s, level, level), colour, dash, dots=False)
             for (name, level), corner, (colour, dash) in zip(flops_s.items(), corners, ROOFS, strict=False)]
    lines += [Line(f"{name} {rate(y)} at {x:.3g} FLOP per byte", (x,), (y,), colour, "", marker=mark, dot_pt=9)
              for (name, (x, y)), (colour, mark) in zip(points.items(), POINTS, strict=False)]
    panel = Panel("", "FLOP per byte (bytes estimated)", "FLOP/s", lines, x_limits=(low, high),
                  y_limits=(min(heights) / 2, max(heights) * 2), x_scale="log", y_scale="log")
    figure = draw(FigureSpec([panel], size_in=(8, 5.5)), title)
    figure.axes[0].yaxis.set_major_formatter(EngFormatter())
    return write_png(figure, path)
