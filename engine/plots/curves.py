"""Curves over the epochs: loss, accuracy, learning rate and generalisation gap of one run, or several runs compared."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from matplotlib.figure import Figure

from engine.common.files import make_folder
from engine.plots.figure import FONT_PT, draw, write_png
from engine.plots.figure_spec import BLACK, BLUE, GREEN, ORANGE, PINK, SKY, VERMILION, FigureSpec, Line, Panel

# Each split's colour and dash; the dash tells them apart in grey.
LOOKS = {"train": (BLUE, "-"), "validation": (VERMILION, "--"), "test": (GREEN, "-.")}
SPLITS = tuple(LOOKS)
RUN_COLOURS = (BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, BLACK)
LOSS = ("Loss", "epoch", "mean loss per sample")
ACCURACY = ("Accuracy", "epoch", "top-1 accuracy (%)")
RATE = ("Learning rate", "epoch", "learning rate")
LONGEST_RUN_NAME = 60


def curve_panels(history: list[dict]) -> dict[str, Panel]:
    """loss, accuracy, learning_rate and generalisation_gap; each has a line per split that was measured.

    `history` holds a dict per epoch as metrics.jsonl does: epoch (from 0), lr, and train_, validation_ and test_ loss
    (mean per sample) and top1 (share of 1). None means not measured: the line skips it. A value that is not finite
    breaks the line. The gap is train minus watched accuracy: below 0 the watched split is ahead.
    """
    def lines(value_of: Callable[[dict, str], float | None], labels: Mapping[str, str]) -> list[Line]:
        found = [(look, label, *measured(history, [value_of(row, look) for row in history]))
                 for look, label in labels.items()]
        return [Line(label, x, y, *LOOKS[look], group=look) for look, label, x, y in found if x]

    splits = {split: split for split in SPLITS}
    return {
        "loss": Panel(*LOSS, lines(lambda row, split: row.get(f"{split}_loss"), splits), epochs=True),
        "accuracy": Panel(*ACCURACY, lines(top1_percent, splits), epochs=True),
        "learning_rate": Panel(*RATE, lines(lambda row, _: row.get("lr"), {"train": "learning rate"}), epochs=True,
                               y_limits=(0, None), legend=""),
        "generalisation_gap": Panel("Generalisation gap", "epoch", "generalisation gap (% points)",
                                    lines(gap, {split: f"train - {split}" for split in SPLITS[1:]}), epochs=True,
                                    zero_line=True),
    }


def overview_spec(history: list[dict]) -> FigureSpec:
    """The four panels in two rows."""
    return FigureSpec(list(curve_panels(history).values()), 2, (270, 270), (13, 9))


def draw_curves(history: list[dict], folder: Path, title: str) -> list[Path]:
    """Write loss.png, accuracy.png, learning_rate.png, generalisation_gap.png and overview.png into `folder`. Returns
    the five paths; raises EngineError if the folder cannot be written."""
    make_folder(folder)
    specs = {name: FigureSpec([panel]) for name, panel in curve_panels(history).items()}
    return [write_png(draw(spec, title), folder / f"{name}.png")
            for name, spec in {**specs, "overview": overview_spec(history)}.items()]


def comparison_spec(histories: Mapping[str, list[dict]]) -> FigureSpec:
    """Several runs overlaid: loss, accuracy and learning rate over the epochs, accuracy over training time.
    `histories`: a run's name to its epochs. Training is dotted, the watched splits are solid."""
    loss, accuracy, rate, over_time = panels = [[], [], [], []]
    for number, (run, history) in enumerate(histories.items()):
        look = {"colour": RUN_COLOURS[number % len(RUN_COLOURS)], "group": str(number)}
        # A line without points puts the run into the legend even if it measured nothing.
        loss.append(Line(run, (), (), **look))
        seconds = list(accumulate(row.get("train_s") or 0 for row in history))
        rates = [row.get("lr") for row in history]
        curves = [(rate, run, "-", rates, None)]
        for split in SPLITS:
            top1s, dash = [top1_percent(row, split) for row in history], ":" if split == "train" else "-"
            losses = [row.get(f"{split}_loss") for row in history]
            curves += [(panel, f"{run}, {split}", dash, values, x) for panel, values, x in
                       ((loss, losses, None), (accuracy, top1s, None), (over_time, top1s, seconds))]
        for panel, hover, dash, values, x in curves:
            x, y = measured(history, values, x)
            if x:
                panel.append(Line(run, x, y, dash=dash, hover=hover, **look))
    titles = (LOSS, ACCURACY, RATE, ("Accuracy over training time", "training time (s)", ACCURACY[2]))
    return FigureSpec([Panel(*title, lines, epochs=title[1] == "epoch", legend="")
                       for title, lines in zip(titles, panels, strict=True)],
                      2, (270, 270), (13, 9 + 0.25 * len(histories)))


def comparison_figure(histories: Mapping[str, list[dict]]) -> Figure:
    """The figure of `comparison_spec`, with one legend of all runs."""
    figure = draw(comparison_spec(histories))
    entries = [line for line in figure.axes[0].get_lines() if not len(line.get_xdata())]
    names = [run if len(run) <= LONGEST_RUN_NAME else "…" + run[1 - LONGEST_RUN_NAME:] for run in histories]
    legend = figure.legend(entries, names, loc="outside upper left", frameon=False, fontsize=FONT_PT,
                           title="dotted: training, solid: validation or test", alignment="left")
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def measured(history: list[dict], values: Sequence[float | None], x: Sequence[float] | None = None,
             ) -> tuple[list[float], list[float | None]]:
    """(x, y) of the measured values, x the epochs from 1 unless given; a value that is not finite becomes None."""
    places = x or [row["epoch"] + 1 for row in history]
    points = [(place, value if math.isfinite(value) else None)
              for place, value in zip(places, values, strict=True) if value is not None]
    return [place for place, _ in points], [value for _, value in points]


def top1_percent(row: dict, split: str) -> float | None:
    """An epoch's top-1 accuracy in percent; None if it was not measured."""
    share = row.get(f"{split}_top1")
    return None if share is None else 100 * share


def gap(row: dict, split: str) -> float | None:
    """Training accuracy minus that of `split`, in percentage points; None if one was not measured."""
    train, watched = row.get("train_top1"), row.get(f"{split}_top1")
    return None if train is None or watched is None else (train - watched) * 100
