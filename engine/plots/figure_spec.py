"""A figure's content, independent of the library: matplotlib draws PNGs, plotly the report's charts."""

from collections.abc import Sequence
from dataclasses import dataclass

# Colours that stay apart for colour-blind readers (Okabe and Ito, "Color Universal Design", 2008).
BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, BLACK, GREY = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#555555")
MOST_POINTS_WITH_DOTS = 30
NOT_MEASURED = "not measured in this run"


@dataclass(frozen=True)
class Line:
    """A line through points in their order; None in `y` breaks it.

    dash: matplotlib's, "" for dots alone. dots: whether to mark points if there are few. group: lines that share an
    entry in a chart's legend. hover: a chart's name for a point (default: the label); notes: a text for each point.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    colour: str
    dash: str = "-"
    width_pt: float = 2
    dots: bool = True
    marker: str = "o"
    dot_pt: float = 4
    group: str = ""
    hover: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Bars:
    """An upright bar per point, None in `y` as 0; width in units of `x`."""

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    colour: str
    width: float = 0.8
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Panel:
    """Series on one pair of axes. epochs: `x` has whole numbers. Only a PNG has the scales, the zero line and the
    legend "above" or "inside"."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Line | Bars]
    epochs: bool = False
    x_limits: tuple[float, float] | None = None
    y_limits: tuple[float, float | None] | None = None
    x_scale: str = "linear"
    y_scale: str = "linear"
    zero_line: bool = False
    legend: str = "above"


@dataclass(frozen=True)
class FigureSpec:
    """Panels in rows; a single column shares its x axis. row_px: the rows' heights in a chart, their ratio in a PNG;
    size_in: the PNG's size in inches."""

    panels: Sequence[Panel]
    columns: int = 1
    row_px: Sequence[int] = (270,)
    size_in: tuple[float, float] = (8, 5)
