"""Figures by matplotlib: drawn from a description, without pyplot's global state, and written as PNG."""

import io
import textwrap
import warnings
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from engine.common.files import write_atomic
from engine.plots.figure_spec import GREY, MOST_POINTS_WITH_DOTS, NOT_MEASURED, Bars, FigureSpec, Line, Panel

DPI = 130
FONT_PT = 11
GRID = "#d9d9d9"
LONGEST_NAME = 26
# The longest label that fits into a legend of three columns.
LEGEND_LETTERS = 20


def new_figure(width_in: float, height_in: float, title: str = "") -> Figure:
    """An empty figure with automatic layout; a long title is wrapped."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(textwrap.fill(title, int(width_in * 9)), fontsize=13, fontweight="bold", parse_math=False)
    return figure


def draw(spec: FigureSpec, title: str = "") -> Figure:
    """The figure that `spec` describes."""
    figure, stacked = new_figure(*spec.size_in, title), spec.columns == 1
    grid = figure.subplots(len(spec.row_px), spec.columns, sharex=stacked, squeeze=False, height_ratios=spec.row_px)
    for axes, panel in zip(grid.flat, spec.panels, strict=True):
        draw_panel(axes, panel)
        if stacked:
            axes.label_outer()
    return figure


def draw_panel(axes: Axes, panel: Panel) -> None:
    """Draw `panel` on empty axes; say so if it has no points."""
    dress(axes, panel.title, panel.x_label, panel.y_label)
    axes.set(xscale=panel.x_scale, yscale=panel.y_scale)
    if panel.zero_line:
        axes.axhline(0, color="black", linewidth=0.8)
    for series in panel.series:
        if isinstance(series, Bars):
            axes.bar(series.x, [value or 0 for value in series.y], series.width, color=series.colour)
        else:
            draw_line(axes, series)
    places = [x for series in panel.series for x in series.x]
    if not places:
        axes.text(0.5, 0.5, NOT_MEASURED, transform=axes.transAxes, ha="center", va="center", fontsize=FONT_PT,
                  color=GREY)
        axes.set(xticks=[], yticks=[])
        return
    if panel.epochs:
        margin = max(0.5, 0.02 * (max(places) - min(places)))
        axes.set_xlim(min(places) - margin, max(places) + margin)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    if panel.x_limits:
        axes.set_xlim(panel.x_limits)
    if panel.y_limits:
        axes.set_ylim(panel.y_limits)
    if panel.legend == "above":
        legend_above(axes, panel.title)
    elif panel.legend:
        axes.legend(frameon=False, fontsize=FONT_PT - 1, loc="upper left")


def draw_line(axes: Axes, line: Line) -> None:
    """Draw a line; its label counts the points that break it."""
    y = np.array(line.y, float)
    broken = np.isnan(y)
    label = line.label + (f" (not finite in {broken.sum()} of {len(y)} epochs)" if broken.any() else "")
    if len(y) <= MOST_POINTS_WITH_DOTS or not line.dash:
        dotted = np.arange(len(y))
    else:
        # A point between two breaks has no line that shows it.
        dotted = np.flatnonzero(np.append(True, broken[:-1]) & np.append(broken[1:], True))
    axes.plot(line.x, y, color=line.colour, linestyle=line.dash, linewidth=line.width_pt, label=label,
              marker=line.marker if line.dots else None, markersize=line.dot_pt, markevery=dotted.tolist())


def legend_above(axes: Axes, title: str = "", columns: int | None = None) -> None:
    """A legend above the axes, where it hides no data; its title replaces theirs."""
    _, labels = axes.get_legend_handles_labels()
    columns = columns or max(1, 3 - max(map(len, labels)) // LEGEND_LETTERS)
    axes.legend(title=title or None, alignment="left", title_fontsize=FONT_PT + 1, loc="lower left",
                bbox_to_anchor=(-0.01, 1.0), ncols=columns, frameon=False, fontsize=FONT_PT - 1, borderaxespad=0.2,
                columnspacing=1.4)
    axes.set_title("", loc="left")


def dress(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Labels, a light grid behind the data, and no frame at the top and right."""
    axes.set_title(title, fontsize=FONT_PT + 1, loc="left", parse_math=False)
    axes.set_xlabel(x_label, fontsize=FONT_PT)
    axes.set_ylabel(y_label, fontsize=FONT_PT)
    axes.tick_params(labelsize=FONT_PT - 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def cut(text: str, letters: int = LONGEST_NAME) -> str:
    """The text, shortened to `letters`; by default as class names are."""
    return text if len(text) <= letters else text[:letters - 1] + "…"


def write_png(figure: Figure, path: Path) -> Path:
    """Render the figure and write it atomically; EngineError if the file cannot be written."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # Letters of a class name that the font lacks become boxes, which need no warning.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format="png")
    write_atomic(path, content.getvalue())
    return path
