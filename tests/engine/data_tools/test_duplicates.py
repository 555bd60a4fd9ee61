"""Exact and near duplicates against plain references."""

import numpy as np
import pytest

from engine.data_tools import duplicates


def images_of(count, height=32, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def smooth(count, seed=0):
    """Coarse random patterns, enlarged."""
    coarse = np.random.default_rng(seed).integers(30, 220, (count, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (32, 32), (33, 50), (15, 9)])
def test_thumbnails_are_centred_means_of_length_1(height, width):
    images = images_of(3, height, width)
    rows = duplicates.thumbnails_of(images)
    for image, row in zip(images.astype(np.float64), rows, strict=True):
        small = np.empty((8, 8, 3))
        for y in range(8):
            for x in range(8):
                part = image[y * height // 8:(y + 1) * height // 8, x * width // 8:(x + 1) * width // 8]
                small[y, x] = part.mean((0, 1))
        small -= small.mean((0, 1))
        assert row.dtype == np.float32
        assert row.reshape(8, 8, 3) == pytest.approx(small / np.sqrt((small**2).sum()), abs=1e-5)


def test_brightness_contrast_and_a_colour_cast_leave_the_correlation_at_1():
    image = smooth(1).astype(np.float64)
    changed = np.clip(0.6 * image + [20, 35, 50], 0, 255).astype(np.uint8)
    one, other = duplicates.thumbnails_of(image.astype(np.uint8)), duplicates.thumbnails_of(changed)
    assert float((one @ other.T)[0, 0]) > 0.999
    assert float((one @ duplicates.thumbnails_of(smooth(1, seed=1)).T)[0, 0]) < 0.5


def test_plain_images_correlate_with_nothing():
    plain = np.full((2, 32, 32, 3), 200, np.uint8)
    plain[:, ::2] += 1
    assert not duplicates.thumbnails_of(plain).any()


def test_digests_differ_for_a_single_pixel():
    images = images_of(2)
    images[1] = images[0]
    assert duplicates.digests_of(images)[0] == duplicates.digests_of(images)[1]
    images[1, 31, 31, 2] ^= 1
    assert len(set(duplicates.digests_of(images))) == 2
    # A view whose bytes are not contiguous has the same pixels.
    assert duplicates.digests_of(images[:, :, ::-1][:, :, ::-1]) == duplicates.digests_of(images)


def test_equal_digests_are_grouped_and_paired():
    train, test = [b"a", b"b", b"a", b"c", b"b", b"a"], [b"x", b"b", b"a"]
    assert duplicates.groups_of(train) == [[0, 2, 5], [1, 4]]
    assert duplicates.pairs_between(test, train) == [(1, 1), (2, 0)]
    assert duplicates.groups_of(test) == [] and duplicates.pairs_between([], train) == []


@pytest.mark.parametrize(("rows", "columns"), [(512, 16_384), (3, 4), (7, 50)])
def test_the_nearest_is_the_one_with_the_highest_product(rows, columns, monkeypatch):
    monkeypatch.setattr(duplicates, "ROWS", rows)
    monkeypatch.setattr(duplicates, "COLUMNS", columns)
    small, among = duplicates.thumbnails_of(images_of(11)), duplicates.thumbnails_of(images_of(50, seed=1))
    which, best = duplicates.nearest(small, among)
    for row in range(11):
        products = [float(small[row] @ other) for other in among]
        assert which[row] == int(np.argmax(products)) and best[row] == pytest.approx(max(products), abs=1e-6)


def test_too_many_images_are_compared_in_part():
    assert duplicates.comparison_step(10_000, 50_000) == 1
    assert duplicates.comparison_step(100_000, 1_000_000) == 20
    assert -(-100_000 // 20) * 1_000_000 <= duplicates.MOST_COMPARISONS
