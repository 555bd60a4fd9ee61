import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.common.errors import DataError
from loaders.feeds import split

NAMES = [str(number) for number in range(100)]


def stratified(labels, fraction, seed, class_names=NAMES):
    return split.stratified(labels, fraction, seed, class_names)


def test_each_class_is_held_out_in_proportion():
    labels = np.repeat(np.arange(100), 500)
    train, validation = stratified(labels, 0.1, seed=1)
    assert np.bincount(labels[validation]).tolist() == [50] * 100
    assert np.bincount(labels[train]).tolist() == [450] * 100
    assert train.dtype == validation.dtype == np.int64


def test_largest_remainders_get_the_rest():
    # Quotas 2.5, 1.25, 0.75 of 18 * 0.25 = 4.5, rounded to 4: whole parts 2, 1, 0, and the last to class 2.
    labels = np.repeat([0, 1, 2], [10, 5, 3])
    _, validation = stratified(labels, 0.25, seed=0)
    assert np.bincount(labels[validation]).tolist() == [2, 1, 1]


def test_of_equal_remainders_the_lower_classes_get_the_rest():
    # 2.5 of each class: 250 in all, so that half of the classes get a third one.
    labels = np.repeat(np.arange(100), 10)
    _, validation = stratified(labels, 0.25, seed=0)
    assert np.bincount(labels[validation]).tolist() == [3] * 50 + [2] * 50


@settings(max_examples=60, deadline=None, database=None)
@given(counts=st.lists(st.integers(2, 40), min_size=1, max_size=8), fraction=st.floats(0.05, 0.95),
       seed=st.integers(-2**70, 2**70), order=st.randoms(use_true_random=False))
def test_a_split_has_two_sorted_parts_of_the_right_sizes(counts, fraction, seed, order):
    listed = [c for c, count in enumerate(counts) for _ in range(count)]
    order.shuffle(listed)
    labels = np.array(listed)
    try:
        train, validation = stratified(labels, fraction, seed)
    except DataError:
        taken = [fraction * count for count in counts]
        assert any(share < 1 or share > count - 1 for share, count in zip(taken, counts, strict=True))
        return
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(len(labels)))
    assert (np.diff(train) > 0).all() and (np.diff(validation) > 0).all()
    assert len(validation) == round(fraction * len(labels))
    for c, count in enumerate(counts):
        assert abs((labels[validation] == c).sum() - fraction * count) < 1


def test_the_seed_decides_and_nothing_else():
    labels = np.tile(np.arange(10), 30)
    first, again, other = (stratified(labels, 0.2, seed)[1] for seed in (5, 5, 6))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first[:5].tolist() != list(range(5))


def test_the_held_out_samples_of_a_known_run_stay():
    assert stratified(np.tile([0, 1], 10), 0.3, seed=0)[1].tolist() == KNOWN


# Of seed 0. Must not change: a resumed run must hold out the same samples.
KNOWN = [2, 3, 7, 9, 12, 18]


@pytest.mark.parametrize(("labels", "fraction", "part"), [
    (np.array([0] * 50 + [1]), 0.1, "for validation in 1 of 2 classes: 'cat' (1 in all)"),
    (np.array([0] * 50 + [4]), 0.9, "for training in 1 of 2 classes: '2' (1 in all)"),
    (np.array([0] * 50 + [2, 3, 3]), 0.1, "for validation in 2 of 3 classes: '10' (1 in all), '11' (2 in all); ")])
def test_a_class_without_images_in_one_part_is_refused_by_its_name(labels, fraction, part):
    with pytest.raises(DataError, match=rf"^data\.validation={fraction} would leave no image") as caught:
        stratified(labels, fraction, 0, ("dog", "cat", "10", "11", "2"))
    assert part in str(caught.value) and "\n" not in str(caught.value)


def test_ten_classes_without_images_are_named_and_the_others_counted():
    with pytest.raises(DataError, match=r"in 12 of 13 classes: '0' \(1 in all\), .*, '9' \(1 in all\) and 2 more; "
                                        "choose another share or add images$"):
        stratified(np.array([*range(12)] + [12] * 2000), 0.01, 0)
