import time

import numpy as np
import pytest

from loaders.common.errors import DataError
from loaders.sources import shapes
from loaders.sources.open import open_source
from loaders.sources.outlines import OUTLINES, PATTERNS


def opened(**settings):
    return open_source("shapes", **{"train_count": 60, "test_count": 30, **settings})


def test_ten_classes_are_outlines_and_more_are_outlines_with_patterns():
    assert opened().class_names == tuple(OUTLINES)
    many = opened(classes=25).class_names
    assert many[0] == "disc, plain" and many[14] == "ring, striped" and len(set(many)) == 25
    assert set(opened(classes=100, train_count=100, test_count=100).class_names) == {
        f"{outline}, {pattern}" for outline in OUTLINES for pattern in PATTERNS}


@pytest.mark.parametrize(("classes", "resolution"), [(10, 32), (37, 8), (100, 51)])
def test_splits_have_the_right_shape_and_balanced_labels(classes, resolution):
    source = opened(classes=classes, resolution=resolution, train_count=classes * 2 + 3, test_count=classes)
    split = source.read("train")
    assert split.images_nhwc.shape == (classes * 2 + 3, resolution, resolution, 3)
    assert split.images_nhwc.dtype == np.uint8 and split.labels.dtype == np.int64
    assert set(np.bincount(split.labels, minlength=classes).tolist()) <= {2, 3}
    assert sorted(source.read("test").labels.tolist()) == list(range(classes))


def test_an_image_depends_on_seed_split_and_index_alone(monkeypatch):
    source = opened(seed=3)
    few, many = source.read("train"), opened(seed=3, train_count=200).read("train")
    assert np.array_equal(few.images_nhwc, many.images_nhwc[:60]) and np.array_equal(few.labels, many.labels[:60])
    rows = np.array([59, 3])
    alone = shapes.draw(rows, few.labels[rows], 10, 32, 3, 0)
    assert np.array_equal(alone, few.images_nhwc[rows])
    monkeypatch.setattr(shapes, "_PIXELS_AT_ONCE", 5 * 1024)
    assert np.array_equal(source.read("train").images_nhwc, few.images_nhwc)
    for other in (source.read("test"), opened(seed=4).read("train"), opened(seed=-3).read("train")):
        assert (few.images_nhwc[:30] != other.images_nhwc[:30]).any(axis=(1, 2, 3)).all()
        assert not np.array_equal(few.labels[:30], other.labels[:30])


def test_no_images_are_duplicates():
    images = opened(train_count=500).read("train").images_nhwc
    assert len({image.tobytes() for image in images}) == 500


def test_fingerprint_follows_every_setting(monkeypatch):
    settings = [{}, {"seed": 1}, {"classes": 11}, {"resolution": 33}, {"train_count": 61}, {"test_count": 31}]
    prints = {opened(**given).fingerprint for given in settings}
    assert len(prints) == 6 and opened().fingerprint in prints
    monkeypatch.setattr(shapes, "VERSION", shapes.VERSION + 1)
    assert opened().fingerprint not in prints


def test_resolution_samples_the_same_scene():
    coarse, fine = (opened(resolution=r).read("train") for r in (16, 64))
    averaged = fine.images_nhwc.reshape(60, 16, 4, 16, 4, 3).mean(axis=(2, 4))
    assert np.array_equal(coarse.labels, fine.labels)
    assert np.median(np.abs(averaged - coarse.images_nhwc)) < 15


def test_both_polarities_and_the_whole_range_occur():
    images = opened(train_count=300).read("train").images_nhwc
    corners = images[:, [0, 0, -1, -1], [0, -1, 0, -1]].reshape(300, -1).mean(axis=1)
    assert 90 < (corners > 128).sum() < 210
    assert images.min() == 0 and images.max() == 255


def test_a_linear_classifier_fails():
    source = opened(train_count=4000, test_count=1000, resolution=16)
    train, test = source.read("train"), source.read("test")

    def features(split):
        pixels = split.images_nhwc.reshape(len(split.labels), -1) / np.float32(255) - np.float32(0.5)
        return np.hstack([pixels, np.ones((len(pixels), 1), np.float32)])

    x, wanted = features(train), np.eye(10, dtype=np.float32)[train.labels]
    squares, towards = x.T @ x, x.T @ wanted
    accuracy = {}
    for ridge in (10, 1000):
        weights = np.linalg.solve(squares + ridge * np.eye(x.shape[1], dtype=np.float32), towards)
        accuracy[ridge] = float(((features(test) @ weights).argmax(1) == test.labels).mean())
    assert max(accuracy.values()) < 0.35, accuracy


def test_drawing_the_default_set_takes_seconds():
    started = time.perf_counter()
    source = open_source("shapes")
    assert len(source.read("train").labels) == 10_000 and len(source.read("test").labels) == 2_000
    assert time.perf_counter() - started < 15


def test_more_images_than_memory_are_refused():
    with pytest.raises(DataError, match="data.train_count=10{12}: 10{12} images of 32 x 32 pixels do not fit"):
        opened(train_count=10**12).read("train")
