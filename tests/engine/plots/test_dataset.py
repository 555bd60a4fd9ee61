"""The figures of a data set: whole, readable with few and with many classes, pixels where they belong."""

import math

import numpy as np
import pytest
from PIL import Image

from engine.plots.dataset import (
    MOST_CLASSES,
    WRONG,
    draw_overview,
    draw_pairs,
    draw_samples,
    mosaic,
    samples_a_class,
)
from tests.engine.plots.drawing import figure_of

HALVES = ((0.5,) * 3, (0.25,) * 3)


def names_of(classes):
    return [f"aquarium_fish_{number}" for number in range(classes)]


def images_of(count, side_px=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side_px, side_px, 3), dtype=np.uint8)


def overview(classes, histogram=None):
    counts = {"train": list(range(100, 100 + classes)), "test": [10] * classes}
    histogram = np.ones((3, 256), np.int64) if histogram is None else histogram
    return figure_of(draw_overview, names_of(classes), counts, histogram, HALVES, "a's", title="title")


def boxes_of(labels):
    return [label.get_window_extent() for label in labels if label.get_text()]


@pytest.mark.parametrize("classes", [2, 20, 21, 100, 400])
def test_names_of_classes_do_not_overlap_and_stay_inside(classes):
    figure = overview(classes)
    figure.canvas.draw()
    labels = figure.axes[0].get_xticklabels()
    boxes = boxes_of(labels)
    if classes > 20:
        # Upright ones; slanted ones have boxes that overlap where the letters do not.
        assert not any(one.overlaps(other) for one, other in zip(boxes, boxes[1:], strict=False))
    assert min(box.x0 for box in boxes) >= 0 and max(box.x1 for box in boxes) <= figure.bbox.x1
    below = figure.axes[1].title.get_window_extent() if figure.axes[1].get_title() else figure.axes[1].get_tightbbox()
    assert min(box.y0 for box in boxes) >= below.y1 - 1


def test_bars_are_the_counts_and_the_legend_has_their_sums():
    axes = overview(3).axes[0]
    assert [[bar.get_height() for bar in bars] for bars in axes.containers] == [[100, 101, 102], [10, 10, 10]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "train: 303 images, 100 to 102 each", "test: 30 images, 10 each"]


def test_channels_have_the_mean_and_deviation_of_their_pixels():
    histogram = np.ones((3, 256), np.int64)
    histogram[0] = 0
    histogram[0, [51, 153]] = 1, 3
    titles = [axes.get_title(loc="left") for axes in overview(2, histogram).axes[1:4]]
    deviation = np.std([0.2, 0.6, 0.6, 0.6])
    assert titles[0] == f"red: mean 0.5000, deviation {deviation:.4f}"
    assert titles[1].startswith("green: mean 0.5000, deviation 0.2898")


def test_a_border_that_leaves_the_figure_is_stated():
    histogram = np.ones((3, 256), np.int64)
    histogram[:, 255] = 255
    axes = overview(2, histogram).axes[1]
    assert [text.get_text() for text in axes.texts] == ["1: 50.0 %"] and axes.get_ylim()[1] < 1


def test_samples_stand_in_their_class_row():
    samples = [images_of(3, seed=1), images_of(2, seed=2)]
    tiles = mosaic(samples, 3, 4)
    assert tiles.shape == (3 * 34, 4 * 34, 3)
    assert np.array_equal(tiles[35:67, 35:67], samples[1][1])
    assert (tiles[68:] == 255).all() and (tiles[34:68, 68:] == 255).all()


def test_large_samples_are_made_small():
    assert mosaic([images_of(1, 500)], 1, 1).shape == (68, 68, 3)


@pytest.mark.parametrize(("classes", "blocks"), [(1, 1), (20, 1), (21, 2), (100, 4), (130, 4)])
def test_every_shown_class_is_named_once_beside_its_row(classes, blocks):
    shown = min(classes, MOST_CLASSES)
    names = [f"MWM_{number}" for number in range(classes)]
    figure = figure_of(draw_samples, names, [images_of(samples_a_class(classes))] * shown, title="title")
    assert len(figure.axes) == blocks
    figure.canvas.draw()
    labels = [label for axes in figure.axes for label in axes.get_yticklabels()]
    assert [label.get_text() for label in labels] == names[:shown]
    for axes in figure.axes:
        boxes = boxes_of(axes.get_yticklabels())
        assert not any(one.overlaps(other) for one, other in zip(boxes, boxes[1:], strict=False))
        assert min(box.x0 for box in boxes) >= 0 and max(box.x1 for box in boxes) < axes.get_window_extent().x0
        cell = axes.get_window_extent().height / math.ceil(shown / blocks)
        assert axes.get_window_extent().width == pytest.approx(cell * samples_a_class(classes))
    ends = [axes.get_window_extent().x1 for axes in figure.axes]
    starts = [min(box.x0 for box in boxes_of(axes.get_yticklabels())) for axes in figure.axes]
    assert all(end < start for end, start in zip(ends, starts[1:], strict=False)) and ends[-1] <= figure.bbox.x1
    assert figure.axes[0].get_window_extent().y1 < figure.texts[0].get_window_extent().y0
    said = "the first 120 of 130 classes" in figure.get_suptitle()
    assert said == (classes > MOST_CLASSES)


def test_pairs_show_both_images_and_mark_other_labels():
    images = images_of(6).reshape(3, 2, 32, 32, 3)
    captions = [("test 1", "cat", "train 2", "cat", "0.99"), ("test 3", "cat", "train 4", "dog", "equal"),
                ("test 5", "$x$", "train 6", "$x$", "0.98")]
    axes = figure_of(draw_pairs, captions, images, title="title").axes
    assert [place.title.get_color() for place in axes[:3]] == ["black", WRONG, "black"]
    assert axes[1].get_title() == "test 3 | train 4: equal\ncat | dog"
    shown = axes[1].get_images()[0].get_array()
    assert np.array_equal(shown[:, :32], images[1, 0]) and np.array_equal(shown[:, -32:], images[1, 1])


@pytest.mark.parametrize("count", [1, 4, 5, 16])
def test_captions_of_pairs_do_not_overlap(count):
    captions = [("test 10,000", "sweet_pepper", "train 50,000", "aquarium_fish", "0.987")] * count
    images = images_of(2 * count).reshape(count, 2, 32, 32, 3)
    figure = figure_of(draw_pairs, captions, images, title="Images that come twice")
    figure.canvas.draw()
    boxes = [axes.title.get_window_extent() for axes in figure.axes[:count]]
    assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at])
    assert min(box.x0 for box in boxes) >= 0 and max(box.x1 for box in boxes) <= figure.bbox.x1


def test_pictures_are_written(tmp_path):
    paths = [draw_overview(["a", "$b"], {"train": [1, 2]}, np.ones((3, 256), np.int64), HALVES, "a's",
                           tmp_path / "o.png", "t"),
             draw_samples(["a", "猫"], [images_of(2), images_of(1)], tmp_path / "s.png", "t"),
             draw_pairs([("test 1", "a", "train 2", "b", "equal")], images_of(2)[None], "t", tmp_path / "p.png")]
    for path in paths:
        assert np.asarray(Image.open(path).convert("RGB")).std() > 5


def test_images_are_counted_in_whole_numbers():
    histogram = np.ones((3, 256), np.int64)
    figure = figure_of(draw_overview, names_of(3), {"train": [1, 2, 3]}, histogram, HALVES, "a's", title="title")
    ticks = figure.axes[0].get_yticks()
    assert len(ticks) > 1 and np.array_equal(ticks, np.round(ticks))
