import csv

import numpy as np
import pytest
from matplotlib import _pylab_helpers
from PIL import Image

from engine.plots.confusion import confusion_figure, shares_percent, write_confusion


def matrix_of(classes, seed=0):
    return np.random.default_rng(seed).integers(0, 30, (classes, classes), dtype=np.int64)


def names_of(classes):
    return [f"aquarium_fish_{number}" for number in range(classes)]


def test_csv_round_trip_with_awkward_names(tmp_path):
    names = ["plain", "with, comma", 'a "quoted" one', "$x_1$", "猫"]
    matrix = matrix_of(5)
    csv_path, png_path = write_confusion(matrix, names, tmp_path / "new")
    with open(csv_path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert csv_path.name == "confusion.csv" and header[1:] == names
    assert [row[0] for row in rows] == names
    assert np.array_equal(np.array([row[1:] for row in rows], dtype=np.int64), matrix)
    assert sorted(path.name for path in csv_path.parent.iterdir()) == ["confusion.csv", png_path.name]


@pytest.mark.parametrize("classes", [1, 10, 100])
def test_picture_is_written_whole(tmp_path, classes):
    _, path = write_confusion(matrix_of(classes) + np.eye(classes, dtype=np.int64) * 100, names_of(classes), tmp_path)
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert max(pixels.shape) < 2500 and pixels.std() > 5
    assert not _pylab_helpers.Gcf.figs, "pyplot's global state was touched"


def test_shares_are_percent_of_the_true_class():
    shares = shares_percent(np.array([[3, 1], [0, 0]]))
    assert shares[0].tolist() == [75.0, 25.0]
    assert np.isnan(shares[1]).all()


@pytest.mark.parametrize("classes", [2, 20, 21, 100, 400])
def test_names_do_not_overlap_and_stay_inside(classes):
    figure = confusion_figure(matrix_of(classes), names_of(classes))
    figure.canvas.draw()
    axes = figure.axes[0]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert not any(one.overlaps(other) for one, other in zip(boxes, boxes[1:], strict=False))
        assert min(box.x0 for box in boxes) >= 0 and min(box.y0 for box in boxes) >= 0
    bar_label = figure.axes[1].yaxis.label.get_window_extent()
    assert bar_label.y0 >= 0 and bar_label.y1 <= figure.bbox.y1 and bar_label.x1 <= figure.bbox.x1


def test_every_class_is_named_at_100():
    axes = confusion_figure(matrix_of(100), names_of(100)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == names_of(100)


@pytest.mark.parametrize("classes, numbers", [(20, 400), (21, 0)])
def test_numbers_stand_in_the_cells_up_to_20_classes(classes, numbers):
    matrix = matrix_of(classes)
    texts = confusion_figure(matrix, names_of(classes)).axes[0].texts
    assert len(texts) == numbers
    # Row is the y axis: the true class.
    assert all(text.get_text() == str(matrix[text.get_position()[::-1]]) for text in texts)


def test_title_and_colour_bar_have_their_units():
    figure = confusion_figure(np.array([[3, 1], [0, 4]]), ["a", "b"])
    assert "8 images" in figure.axes[0].get_title(loc="left") and "87.50 %" in figure.axes[0].get_title(loc="left")
    assert "%" in figure.axes[1].get_ylabel()


def test_classes_without_images_are_explained():
    assert "grey" in confusion_figure(np.array([[1, 0], [0, 0]]), ["a", "b"]).axes[0].get_ylabel()
    assert "grey" not in confusion_figure(np.array([[1, 0], [0, 2]]), ["a", "b"]).axes[0].get_ylabel()
