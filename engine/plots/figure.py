"""What every picture shares: a figure apart from pyplot's global state, colours, writing it whole."""

import io
import textwrap
import warnings
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from engine.common.files import write_atomic

DPI = 130
FONT_PT = 11
TITLE_PT = 13
GRID = "#d9d9d9"


def new_figure(width_in: float, height_in: float, title: str = "") -> Figure:
    """An empty figure that lays itself out; a long title is broken into lines."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        lines = textwrap.fill(title, width=int(width_in * 9))
        figure.suptitle(lines, fontsize=TITLE_PT, fontweight="bold", parse_math=False)
    return figure


def dress(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Labels, a light grid behind the data, and no frame at the top and right."""
    axes.set_title(title, fontsize=FONT_PT + 1, loc="left", parse_math=False)
    axes.set_xlabel(x_label, fontsize=FONT_PT)
    axes.set_ylabel(y_label, fontsize=FONT_PT)
    axes.tick_params(labelsize=FONT_PT - 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def write_png(figure: Figure, path: Path) -> Path:
    """Draw the figure and write it whole; EngineError where the file cannot be written."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # A class name may hold letters the font lacks: the picture then shows boxes, which needs no line on the screen.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format="png")
    write_atomic(path, content.getvalue())
    return path
