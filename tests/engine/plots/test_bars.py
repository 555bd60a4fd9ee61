import math

import numpy as np
import pytest

from engine.plots.bars import calibration_spec, per_class_figure, speed_spec, waited_percent, worst_first
from engine.plots.figure import draw


@pytest.mark.parametrize("classes", [2, 100, 400])
def test_classes_are_named_worst_at_the_top_without_overlap(classes):
    shares = np.random.default_rng(0).random(classes)
    names = [f"rather_long_name_{number}" for number in range(classes)]
    figure = per_class_figure(shares, names, "test")
    figure.canvas.draw()
    axes = figure.axes[0]
    labels = axes.get_yticklabels()
    boxes = [label.get_window_extent() for label in labels]
    assert not any(one.overlaps(other) for one, other in zip(boxes, boxes[1:], strict=False))
    assert min(box.x0 for box in boxes) >= 0 and boxes[0].y0 > boxes[-1].y0
    assert labels[0].get_text() == names[shares.argmin()] and labels[-1].get_text() == names[shares.argmax()]
    assert len(labels) == min(classes, 120) and ("worst 60" in axes.get_title(loc="left")) == (classes > 120)
    assert axes.patches[0].get_width() == pytest.approx(100 * shares.min())


def test_classes_without_images_come_last_and_say_so():
    assert worst_first(np.array([0.5, math.nan, 0.2, 0.5])).tolist() == [2, 0, 3, 1]
    texts = [text.get_text() for text in per_class_figure(np.array([0.5, math.nan]), ["a", "b"], "test").axes[0].texts]
    assert texts == ["50.0", "no images"]


def test_the_reliability_curve_leaves_empty_bins_out():
    figure = draw(calibration_spec(np.array([0, 30, 10]), np.array([math.nan, 0.5, 0.9]),
                                   np.array([math.nan, 0.6, 0.8]), 0.1))
    above, below = figure.axes
    curve = above.get_lines()[1]
    assert np.allclose(curve.get_xdata(), [60, 80]) and np.allclose(curve.get_ydata(), [50, 90])
    assert [bar.get_height() for bar in below.patches] == [0, 75, 25]
    assert "10.00 %" in above.get_title(loc="left")


@pytest.mark.parametrize("count", [1, 2, 200])
def test_speed_has_a_bar_per_epoch_and_whole_ticks(count):
    history = [{"epoch": epoch, "images_per_s": 100.0 + epoch, "train_s": 4.0, "feed_wait_s": 1.0}
               for epoch in range(count)]
    figure = draw(speed_spec(history))
    figure.canvas.draw()
    above, below = figure.axes
    assert [bar.get_height() for bar in above.patches] == [100.0 + epoch for epoch in range(count)]
    assert {bar.get_height() for bar in below.patches} == {25.0}
    low, high = below.get_xlim()
    shown = [tick for tick in below.get_xticks() if low <= tick <= high]
    assert shown and all(tick == int(tick) for tick in shown)


def test_a_wait_that_was_not_measured_is_none():
    assert waited_percent({"train_s": 2.0, "feed_wait_s": 0.5}) == 25
    assert waited_percent({"train_s": 2.0, "feed_wait_s": None}) is None and waited_percent({}) is None
