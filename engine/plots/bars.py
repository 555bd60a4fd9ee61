"""Pictures of a run's per-class accuracy, calibration and speed."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from engine.plots.confusion import shortened
from engine.plots.curves import LOOKS
from engine.plots.figure import FONT_PT, dress, new_figure

MOST_BARS = 120
BAR_IN = 0.2


def worst_first(per_class: np.ndarray) -> np.ndarray:
    """int64 (C,): the classes by rising accuracy, equal ones in their order, those without images (NaN) last."""
    return np.argsort(np.where(np.isnan(per_class), np.inf, per_class), kind="stable")


def per_class_figure(per_class: np.ndarray, class_names: Sequence[str], split: str) -> Figure:
    """Top-1 of each class in percent, worst at the top; with more than 120 classes the 60 worst and the 60 best."""
    order, note = worst_first(per_class), ""
    if len(order) > MOST_BARS:
        order, note = np.concatenate([order[:MOST_BARS // 2], order[-MOST_BARS // 2:]]), " (worst 60, best 60)"
    figure = new_figure(7.5, BAR_IN * len(order) + 1.2)
    axes = figure.add_subplot()
    dress(axes, f"Accuracy of each class on the {split} images{note}", "top-1 accuracy (%)", "")
    shares = 100 * per_class[order]
    places = np.arange(len(order))
    axes.barh(places, np.nan_to_num(shares), color=LOOKS["train"]["color"], height=0.75)
    for place, share in zip(places, shares, strict=True):
        axes.text(np.nan_to_num(share) + 1, place, "no images" if np.isnan(share) else f"{share:.1f}", va="center",
                  fontsize=FONT_PT - 4)
    axes.set_yticks(places, [shortened(class_names[i]) for i in order], fontsize=FONT_PT - 3, parse_math=False)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xlim(0, 108)
    axes.set_xticks(range(0, 101, 20))
    axes.grid(False, axis="y")
    return figure


def calibration_figure(count: np.ndarray, accuracy: np.ndarray, confidence: np.ndarray, ece: float) -> Figure:
    """The reliability curve over 15 bins of confidence, with how many images lie in each below it.

    count int64, accuracy and confidence float64 in 0..1, each (bins,), NaN in empty bins; ece: the expected
    calibration error, 0..1.
    """
    figure = new_figure(6.2, 6.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    dress(above, f"Calibration: expected calibration error {100 * ece:.2f} %", "", "accuracy (%)")
    above.plot((0, 100), (0, 100), color="black", linewidth=1, linestyle=":", label="confidence is accuracy")
    there = count > 0
    above.plot(100 * confidence[there], 100 * accuracy[there], **LOOKS["train"], marker="o", label="this network")
    above.legend(frameon=False, fontsize=FONT_PT - 1, loc="upper left")
    above.set(xlim=(0, 100), ylim=(0, 102))
    dress(below, "", "confidence (%)", "images (%)")
    width = 100 / len(count)
    below.bar((np.arange(len(count)) + 0.5) * width, 100 * count / max(count.sum(), 1), width * 0.9,
              color=LOOKS["train"]["color"])
    return figure


def speed_figure(history: list[dict]) -> Figure:
    """Images a second in each epoch, and what share of it training waited for data."""
    figure = new_figure(8, 5)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    epochs = [row["epoch"] + 1 for row in history]
    dress(above, "Speed", "", "images a second")
    above.bar(epochs, [row.get("images_per_s") or 0 for row in history], color=LOOKS["train"]["color"])
    dress(below, "", "epoch", "waited for data (%)")
    below.bar(epochs, [waited_percent(row) or 0 for row in history], color=LOOKS["validation"]["color"])
    below.set_xlim(0.4, len(epochs) + epochs[0] - 0.4)
    below.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return figure


def waited_percent(row: dict) -> float | None:
    """The share of an epoch's training time that was spent waiting for data, in percent."""
    train_s, wait_s = row.get("train_s"), row.get("feed_wait_s")
    return None if not train_s or wait_s is None else 100 * wait_s / train_s
