"""The picture of several runs over each other."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from engine.views.canvas import FONT_PT, dress, new_figure
from engine.views.charts import RUN_COLOURS, drawable
from engine.views.curves import SPLITS, scaled

LONGEST_LABEL = 60


def comparison_figure(histories: Mapping[str, list[dict]]) -> Figure:
    """Loss, accuracy and rate over the epochs and accuracy over the training time; dotted is training."""
    figure = new_figure(13, 9 + 0.25 * len(histories))
    loss, accuracy, rate, over_time = figure.subplots(2, 2).flat
    dress(loss, "Loss", "epoch", "mean loss a sample")
    dress(accuracy, "Accuracy", "epoch", "top-1 accuracy (%)")
    dress(rate, "Learning rate", "epoch", "learning rate")
    dress(over_time, "Accuracy over training time", "training time (s)", "top-1 accuracy (%)")
    for number, (run, history) in enumerate(histories.items()):
        look = {"color": RUN_COLOURS[number % len(RUN_COLOURS)], "linewidth": 2, "marker": "o", "markersize": 3}
        seconds = np.cumsum([row.get("train_s") or 0 for row in history]).tolist()
        label = run if len(run) <= LONGEST_LABEL else "…" + run[1 - LONGEST_LABEL:]
        # A line without points, so that a run is in the legend whatever it measured.
        rate.plot([], [], label=label, **look)
        for axes, key, x, splits in ((loss, "loss", None, SPLITS), (accuracy, "top1", None, SPLITS),
                                     (over_time, "top1", seconds, SPLITS), (rate, "lr", None, ("",))):
            for split in splits:
                values = [row.get(f"{split}_{key}".lstrip("_")) for row in history]
                points = drawable(history, [scaled(value, 100) for value in values] if key == "top1" else values, x)
                if points:
                    y = [np.nan if value is None else value for value in points[1]]
                    axes.plot(points[0], y, linestyle=":" if split == "train" else "-", **look)
    handles, labels = rate.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside upper left", frameon=False, fontsize=FONT_PT,
                           title="dotted: training, solid: validation or test", alignment="left")
    for text in legend.get_texts():
        text.set_parse_math(False)
    for axes in (loss, accuracy, rate):
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return figure
