import numpy as np
import pytest

from loaders.beton.content import channel_statistics, check_content
from loaders.common.errors import DataError
from loaders.sources.base import Source, Split

IMAGES = np.zeros((4, 2, 3, 3), np.uint8)
LABELS = np.array([0, 1, 2, 1])


def source(names=("a", "b", "c")):
    return Source("made", names, 3, "f" * 64, ("train", "test"), lambda split: None)


def test_counts_of_each_class():
    assert check_content(source(), "train", Split(IMAGES, LABELS)) == (1, 2, 1)
    assert check_content(source((*"abcd",)), "test", Split(IMAGES, LABELS.astype(np.uint8))) == (1, 2, 1, 0)


@pytest.mark.parametrize(("images", "labels", "names", "part"), [
    (IMAGES.astype(np.int16), LABELS, "abc", "images are int16"), (IMAGES[..., :1], LABELS, "abc", r"\(4, 2, 3, 1\)"),
    (IMAGES[0], LABELS, "abc", r"\(2, 3, 3\)"), (IMAGES[:0], LABELS[:0], "abc", r"\(0, 2, 3, 3\)"),
    (IMAGES[:, :0], LABELS, "abc", r"\(4, 0, 3, 3\)"),
    (np.broadcast_to(np.uint8(0), (4, 1673, 1673, 3)), LABELS, "abc", "larger than a page of 8 MiB"),
    (IMAGES, LABELS[:3], "abc", r"labels are int64 of shape \(3,\); allowed are 4 integers"),
    (IMAGES, LABELS.astype(float), "abc", "labels are float64"), (IMAGES, LABELS[:, None], "abc", r"shape \(4, 1\)"),
    (IMAGES, LABELS, "ab", "labels run from 0 to 2; 2 classes are numbered 0 to 1"),
    (IMAGES, LABELS - 1, "abc", "labels run from -1 to 1"), (IMAGES, LABELS, "abca", "differ from each other; a app"),
    (IMAGES, LABELS, ("a", "", "c"), "must be printable text"), (IMAGES, LABELS, ("a", "b\n", "c"), "printable text"),
    (IMAGES, LABELS, ("a", "\udc80", "c"), "printable text"), (IMAGES, LABELS, "abcd", "no images of class d; ")])
def test_content_that_is_not_a_data_set_is_refused(images, labels, names, part):
    with pytest.raises(DataError, match=part) as caught:
        check_content(source(tuple(names)), "train", Split(images, labels))
    assert str(caught.value).startswith("made, train: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [1, 700])
def test_statistics_equal_the_plain_definition(count):
    images = np.random.default_rng(0).integers(0, 256, (count, 7, 5, 3), dtype=np.uint8)
    mean, std = channel_statistics(images)
    for channel in range(3):
        values = images[..., channel].astype(np.float64) / 255
        assert abs(mean[channel] - values.mean()) < 1e-12 and abs(std[channel] - values.std()) < 1e-9
    assert all(type(value) is float for value in (*mean, *std))


def test_statistics_of_one_colour_have_no_spread():
    mean, std = channel_statistics(np.full((9, 8, 8, 3), 255, np.uint8))
    assert mean == (1.0, 1.0, 1.0) and std == (0.0, 0.0, 0.0)
