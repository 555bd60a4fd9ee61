import math

import numpy as np

from engine.reporting.comparison import comparison_figure


def epochs(count, top1):
    return [{"epoch": epoch, "lr": 0.1, "train_loss": 1.0, "train_top1": 0.5, "test_loss": None, "test_top1": top1,
             "train_s": 2.0} for epoch in range(count)]


def solid(axes):
    return [line for line in axes.get_lines() if line.get_linestyle() == "-" and len(line.get_xdata())]


def test_runs_lie_over_each_other_and_each_is_in_the_legend():
    histories = {"a": epochs(3, 0.4), "$b_1$": epochs(2, None), "none": []}
    figure = comparison_figure(histories)
    figure.canvas.draw()
    loss, accuracy, rate, over_time = figure.axes
    assert [list(line.get_ydata()) for line in solid(accuracy)] == [[40.0] * 3]
    assert [list(line.get_xdata()) for line in solid(over_time)] == [[2, 4, 6]]
    assert not solid(loss) and len(solid(rate)) == 2
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["a", "$b_1$", "none"]
    box = legend.get_window_extent()
    assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
    assert len({line.get_color() for line in legend.get_lines()}) == 3


def test_a_value_that_is_not_finite_breaks_the_line():
    history = epochs(3, 0.4)
    history[1]["test_top1"] = math.inf
    line = solid(comparison_figure({"a": history}).axes[1])[0]
    assert np.isnan(line.get_ydata()).tolist() == [False, True, False]
