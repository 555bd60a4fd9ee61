"""A run's curves: loss, accuracy, learning rate and generalisation gap, one picture each and a 2x2 overview."""

import math
from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from engine.common.files import make_folder
from engine.plots.figure import FONT_PT, dress, new_figure, write_png

# Colours that stay apart for colour-blind readers (Okabe and Ito, "Color Universal Design", 2008), and dashes that do
# so in grey.
LOOKS = {
    "train": {"color": "#0072B2", "linestyle": "-"},
    "validation": {"color": "#D55E00", "linestyle": "--"},
    "test": {"color": "#009E73", "linestyle": "-."},
}
SPLITS = tuple(LOOKS)
MOST_EPOCHS_WITH_DOTS = 30
LONGEST_SHORT_LABEL = 20


def loss_panel(axes: Axes, history: list[dict]) -> None:
    """Mean loss a sample, for each split that has one."""
    dress(axes, "Loss", "epoch", "mean loss a sample")
    for split in SPLITS:
        add_line(axes, history, split, lambda row, key=f"{split}_loss": row.get(key), **LOOKS[split])
    finish(axes)


def accuracy_panel(axes: Axes, history: list[dict]) -> None:
    """Top-1 accuracy in percent, for each split that has one."""
    dress(axes, "Accuracy", "epoch", "top-1 accuracy (%)")
    for split in SPLITS:
        add_line(axes, history, split, lambda row, key=f"{split}_top1": scaled(row.get(key), 100), **LOOKS[split])
    finish(axes)


def rate_panel(axes: Axes, history: list[dict]) -> None:
    """The learning rate at the end of each epoch."""
    dress(axes, "Learning rate", "epoch", "learning rate")
    add_line(axes, history, "learning rate", lambda row: row.get("lr"), **LOOKS["train"])
    axes.set_ylim(bottom=0)
    finish(axes, legend=False)


def gap_panel(axes: Axes, history: list[dict]) -> None:
    """Training accuracy less each watched split's, in percentage points; below 0 the watched split is ahead."""
    dress(axes, "Generalisation gap", "epoch", "top-1 gap (percentage points)")
    axes.axhline(0, color="black", linewidth=0.8)
    for split in SPLITS[1:]:
        add_line(axes, history, f"train - {split}", lambda row, key=f"{split}_top1": gap_of(row, key), **LOOKS[split])
    finish(axes)


PANELS: dict[str, Callable[[Axes, list[dict]], None]] = {
    "loss": loss_panel,
    "accuracy": accuracy_panel,
    "learning_rate": rate_panel,
    "generalisation_gap": gap_panel,
}


def draw_curves(history: list[dict], folder: Path, title: str) -> list[Path]:
    """Write loss.png, accuracy.png, learning_rate.png, generalisation_gap.png and overview.png into `folder`.

    `history` holds one dict an epoch as metrics.jsonl does: epoch (from 0), lr, and train_, validation_ and test_ loss
    (mean a sample) and top1 (share of 1). None is a value that was not measured: the line goes on at the next one. A
    value that is not finite breaks the line and is counted in the legend. A split with no value at all is left out.
    Returns the five paths; raises ValueError without epochs, EngineError where the folder cannot be written.
    """
    if not history:
        raise ValueError("there are no epochs to draw: the history is empty")
    make_folder(folder)
    paths = [write_png(single_figure(name, history, title), folder / f"{name}.png") for name in PANELS]
    return [*paths, write_png(overview_figure(history, title), folder / "overview.png")]


def single_figure(name: str, history: list[dict], title: str) -> Figure:
    """The figure of one of PANELS."""
    figure = new_figure(8, 5, title)
    PANELS[name](figure.add_subplot(), history)
    return figure


def overview_figure(history: list[dict], title: str) -> Figure:
    """All four panels in two rows."""
    figure = new_figure(13, 9, title)
    for place, panel in zip(figure.subplots(2, 2).flat, PANELS.values(), strict=True):
        panel(place, history)
    return figure


def add_line(axes: Axes, history: list[dict], label: str, value_of: Callable[[dict], float | None], **look) -> None:
    """Draw one value an epoch; nothing where no epoch has one."""
    points = [(row["epoch"] + 1, float(value)) for row in history if (value := value_of(row)) is not None]
    if not points:
        return
    finite = [math.isfinite(value) for _, value in points]
    epochs, values = zip(*((epoch, value if math.isfinite(value) else math.nan) for epoch, value in points),
                         strict=True)
    lost = finite.count(False)
    if lost:
        label += f" (not finite in {lost} of {len(points)} epochs)"
    # A point between two breaks has no line to be seen by.
    alone = [not any(finite[max(i - 1, 0):i] + finite[i + 1:i + 2]) for i in range(len(points))]
    dots = [i for i in range(len(points)) if alone[i] or len(points) <= MOST_EPOCHS_WITH_DOTS]
    axes.plot(epochs, values, label=label, linewidth=2, marker="o", markersize=4, markevery=dots, **look)


def finish(axes: Axes, legend: bool = True) -> None:
    """Whole epochs on the x axis; the legend above the data, so that it hides none of it."""
    lines, labels = axes.get_legend_handles_labels()
    if not lines:
        axes.text(0.5, 0.5, "not measured in this run", transform=axes.transAxes, ha="center", va="center",
                  fontsize=FONT_PT, color="#555555")
        axes.set_xticks([])
        axes.set_yticks([])
        return
    first, last = min(line.get_xdata()[0] for line in lines), max(line.get_xdata()[-1] for line in lines)
    margin = max(0.5, 0.02 * (last - first))
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    if legend:
        # The panel's title becomes the legend's, which makes room for as many rows as the legend needs.
        axes.legend(title=axes.get_title(loc="left"), alignment="left", title_fontsize=FONT_PT + 1, loc="lower left",
                    bbox_to_anchor=(-0.01, 1.0), ncols=2 if max(map(len, labels)) > LONGEST_SHORT_LABEL else 3,
                    frameon=False, fontsize=FONT_PT - 1, borderaxespad=0.2, columnspacing=1.4)
        axes.set_title("", loc="left")


def scaled(value: float | None, factor: float) -> float | None:
    """value x factor; None stays None."""
    return None if value is None else value * factor


def gap_of(row: dict, key: str) -> float | None:
    """Training top-1 less `key`, in percentage points; None where one was not measured."""
    train, watched = row.get("train_top1"), row.get(key)
    return None if train is None or watched is None else (train - watched) * 100
