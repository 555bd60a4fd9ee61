import numpy as np
import pytest

from engine.plots.figure import cut
from engine.plots.image_grids import Card, Strip, cards_figure, coloured, in_a_row, strips_figure


def image_of(number, shape=(8, 8, 3)):
    return np.full(shape, 20 * number, np.uint8)


def texts_inside(figure):
    """The texts' boxes; asserts that they lie within the figure."""
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    for box in boxes:
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1
    return boxes


@pytest.mark.parametrize("count, columns", [(1, 4), (5, 4), (6, 3)])
def test_cards_hold_their_images_and_no_text_runs_into_another(count, columns):
    name = "a_class_with_a_name_that_is_far_too_long_for_its_card"
    cards = [Card(image_of(i), (f"true: {name}", "predicted: Mountain goat on a rock", "12.5 % sure"),
                  ("right", "wrong", "")[i % 3]) for i in range(count)]
    figure = cards_figure(cards, "a title", columns)
    boxes = texts_inside(figure)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    shown = [picture.get_array()[0, 0, 0] for picture in figure.axes[0].images]
    assert shown == [20 * i for i in range(count)]


def test_right_and_wrong_are_shown_by_signs_and_colours():
    figure = cards_figure([Card(image_of(1), ("a",), mark) for mark in ("right", "wrong", "")], "t")
    texts = figure.axes[0].texts[1:]
    assert [text.get_text() for text in texts] == ["✓ a", "✗ a", "a"]
    assert len({text.get_color() for text in texts}) == 3


def test_strips_hold_their_images_in_order():
    strips = [Strip("one " * 60, [image_of(1), image_of(2)]), Strip("$x_1$", [image_of(3)])]
    figure = strips_figure(strips, "title")
    texts_inside(figure)
    pictures = figure.axes[0].images
    assert [picture.get_array()[0, 0, 0] for picture in pictures] == [20, 40, 60]
    first, second, third = (picture.get_extent() for picture in pictures)
    assert first[0] == third[0] < second[0] and first[3] == second[3] < third[3]


def test_images_in_a_row_have_a_white_gap():
    row = in_a_row([image_of(1, (4, 16, 3)), image_of(2, (4, 16, 3))])
    assert row.shape == (4, 2 * 16 + 1, 3)
    assert (row[:, :16] == 20).all() and (row[:, 16] == 255).all() and (row[:, 17:] == 40).all()


def test_a_map_is_coloured_from_its_lowest_to_its_highest_value():
    colours = coloured(np.array([[-3.0, 5.0], [1.0, np.nan]]))
    assert colours.dtype == np.uint8
    assert colours[0, 1].tolist() == [253, 231, 37] and colours[0, 0].tolist() == [68, 1, 84]
    assert (coloured(np.full((2, 2), 7.0)) == colours[0, 0]).all()


def test_long_text_is_cut():
    assert cut("abcdef", 6) == "abcdef" and cut("abcdefg", 6) == "abcde…"
