"""Per-class accuracy, calibration and speed of a run."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from engine.plots.figure import FONT_PT, cut, dress, new_figure
from engine.plots.figure_spec import BLACK, BLUE, VERMILION, Bars, FigureSpec, Line, Panel

MOST_BARS = 120
BAR_IN = 0.2


def worst_first(per_class: np.ndarray) -> np.ndarray:
    """int64 (C,): the classes by rising accuracy, ties in class order, those without images (NaN) last."""
    return np.argsort(np.where(np.isnan(per_class), np.inf, per_class), kind="stable")


def per_class_figure(per_class: np.ndarray, class_names: Sequence[str], split: str) -> Figure:
    """Top-1 of each class in percent, worst at the top; with more than 120 classes the 60 worst and the 60 best."""
    order, note = worst_first(per_class), ""
    if len(order) > MOST_BARS:
        order, note = np.concatenate([order[:MOST_BARS // 2], order[-MOST_BARS // 2:]]), " (worst 60, best 60)"
    figure = new_figure(7.5, BAR_IN * len(order) + 1.2)
    axes = figure.add_subplot()
    dress(axes, f"Accuracy of each class on the {split} images{note}", "top-1 accuracy (%)", "")
    places, shares = np.arange(len(order)), 100 * per_class[order]
    bars = axes.barh(places, np.nan_to_num(shares), color=BLUE, height=0.75)
    axes.bar_label(bars, share_texts(shares), padding=3, fontsize=FONT_PT - 4)
    axes.set_yticks(places, [cut(class_names[i]) for i in order], fontsize=FONT_PT - 3, parse_math=False)
    axes.set(xlim=(0, 108), ylim=(len(order) - 0.4, -0.6), xticks=range(0, 101, 20))
    axes.grid(False, axis="y")
    return figure


def share_texts(shares_percent: np.ndarray) -> list[str]:
    """The text at each class's bar."""
    return ["no images" if np.isnan(share) else f"{share:.1f}" for share in shares_percent]


def calibration_spec(count: np.ndarray, accuracy: np.ndarray, confidence: np.ndarray, ece: float) -> FigureSpec:
    """The reliability curve over bins of confidence, with the share of the images in each bin below it.

    count int64, accuracy and confidence float64 in 0..1, each (bins,), NaN in empty bins; ece: the expected
    calibration error, 0..1.
    """
    there = count > 0
    diagonal = Line("confidence is accuracy", (0, 100), (0, 100), BLACK, ":", 1, dots=False, group="ideal")
    curve = Line("this network", 100 * confidence[there], 100 * accuracy[there], BLUE, group="network",
                 notes=[f"{images:,} images" for images in count[there]])
    width = 100 / len(count)
    bars = Bars("images", (np.arange(len(count)) + 0.5) * width, 100 * count / max(count.sum(), 1), BLUE, 0.9 * width,
                [f"{images:,} images" for images in count])
    label, limits = "confidence (%)", (0, 101)
    return FigureSpec([
        Panel(f"Calibration: expected calibration error {100 * ece:.2f} %", label, "accuracy (%)", [diagonal, curve],
              x_limits=limits, y_limits=(0, 102), legend="inside"),
        Panel("", label, "images (%)", [bars], x_limits=limits, legend="")], 1, (300, 100), (6.2, 6.6))


def speed_spec(history: list[dict]) -> FigureSpec:
    """Each epoch's images per second, and the share of its training time spent waiting for data."""
    epochs = [row["epoch"] + 1 for row in history]
    shown = (("Speed", "images per second", [row.get("images_per_s") for row in history], BLUE),
             ("", "waited for data (%)", [waited_percent(row) for row in history], VERMILION))
    return FigureSpec([Panel(title, "epoch", label, [Bars(label, epochs, values, colour)], epochs=True, legend="")
                       for title, label, values, colour in shown], 1, (200, 100))


def waited_percent(row: dict) -> float | None:
    """The share of an epoch's training time spent waiting for data, in percent."""
    train_s, wait_s = row.get("train_s"), row.get("feed_wait_s")
    return None if not train_s or wait_s is None else 100 * wait_s / train_s
