"""The figure of a sweep: each setting's importance, and what trials are judged by over its values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from engine.plots.figure import FONT_PT, cut, dress, new_figure, write_png
from engine.plots.figure_spec import BLUE, GREEN, VERMILION

SMALL = 36
COLUMNS = 4
MOST_PANELS = 12
LONGEST_CHOICE = 18
# The letters that fit side by side below a panel. A logarithmic axis with a larger ratio of its ends shows only the
# powers of ten.
ROOM, WIDE = 22, 200
# Rows of (setting -> value, for each setting that applied; what the trial is judged by).
Points = Sequence[tuple[Mapping[str, object], float]]


@dataclass(frozen=True)
class Measure:
    """What trials are judged by. lower: whether lower is better. share: whether it is a share of 1."""

    words: str = "validation top-1"
    lower: bool = False
    share: bool = True

    @property
    def label(self) -> str:
        """The axis' label."""
        return f"{self.words} (%)" if self.share else self.words


def draw_importance(shares: Mapping[str, float], points: Points, scales: Mapping[str, str], path: Path,
                    title: str, measure: Measure = Measure(), has_own: bool = True) -> Path:
    """Write a figure to `path`: bars above, and below them a panel for each of the most important settings.

    shares: each setting's importance, adding up to 1, largest first. points: the settings and the measure of each
    finished trial, the recipe's own first if it `has_own`. scales: "log" for a logarithmic axis, "choices" for a few
    values; other settings have a linear axis. Raises EngineError if `path` cannot be written.
    """
    panels = list(shares)[:MOST_PANELS]
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    bars_in = 1.1 + 0.28 * len(shares)
    figure = new_figure(max(8, 3.5 * columns), 0.9 + bars_in + 3.1 * rows, title)
    grid = figure.add_gridspec(1 + rows, columns, height_ratios=[bars_in, *[3.1] * rows])
    bar_panel(figure.add_subplot(grid[0, :]), shares, len(points))
    for place, setting in enumerate(panels):
        axes = figure.add_subplot(grid[1 + place // columns, place % columns])
        value_panel(axes, setting, points, scales.get(setting, ""), measure, has_own)
        axes.set_ylabel("" if place % columns else measure.label, fontsize=FONT_PT)
    handles, labels = figure.axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=FONT_PT)
    return write_png(figure, path)


def bar_panel(axes: Axes, shares: Mapping[str, float], trials: int) -> None:
    """A bar per setting, the most important one on top."""
    dress(axes, f"Part in reaching the best quarter of {trials} finished trials", "share (%)", "")
    made = axes.barh(list(shares), [100 * share for share in shares.values()], color=BLUE, height=0.65)
    axes.bar_label(made, fmt="%.0f %%", padding=4, fontsize=FONT_PT - 1)
    axes.set_xlim(0, 112 * max(*shares.values(), 1e-3))
    axes.invert_yaxis()
    axes.grid(False, axis="y")


def value_panel(axes: Axes, setting: str, points: Points, scale: str, measure: Measure, has_own: bool) -> None:
    """The measure over one setting's values: the best trial and the recipe's own stand out."""
    dress(axes, "", setting, "")
    best = (min if measure.lower else max)(range(len(points)), key=lambda at: points[at][1])
    looks = dict.fromkeys(range(len(points)), ("other trials", "o", BLUE, SMALL))
    if has_own:
        looks[0] = ("the recipe's own" if best else "the recipe's own, the best", "s", VERMILION, 62)
    if best or not has_own:
        looks[best] = ("the best", "*", GREEN, 170)
    values = [settings[setting] for settings, _ in points if setting in settings]
    choices = distinct(values) if scale == "choices" else []
    for label, marker, colour, size in dict.fromkeys(looks.values()):
        members = [at for at in looks if looks[at][0] == label and setting in points[at][0]]
        places = [points[at][0][setting] for at in members]
        axes.scatter([choices.index(place) for place in places] if choices else places,
                     [(100 if measure.share else 1) * points[at][1] for at in members], marker=marker, s=size,
                     color=colour, label=label, edgecolors="white", linewidths=0.8, zorder=3 if size == SMALL else 4)
    if choices:
        labels = [cut(str(choice), LONGEST_CHOICE) for choice in choices]
        slant = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"} if len("".join(labels)) > ROOM else {}
        axes.set_xticks(range(len(choices)), labels, **slant)
        axes.set_xlim(-0.5, len(choices) - 0.5)
    elif scale == "log":
        axes.set_xscale("log")
        wide = max(values) > WIDE * min(values)
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 3), numticks=6))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())


def distinct(values: list) -> list:
    """Each value once: numbers by size, others in order of appearance."""
    found = [value for at, value in enumerate(values) if value not in values[:at]]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)
    return sorted(found) if numbers else found
