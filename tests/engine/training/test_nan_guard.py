"""The guard remembers the first bad step of an epoch, and says so."""

import pytest
import torch

from engine.training.nan_guard import EXPLODED, NanGuard, NotFinite, all_finite, finite_weights, suspects


def counts(mean_loss, images=4):
    return torch.tensor([mean_loss * images, 1, images], dtype=torch.float64)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 2 * EXPLODED])
def test_the_first_bad_step_is_told(bad):
    guard = NanGuard(torch.device("cpu"))
    for step, loss in enumerate([2.3, EXPLODED, bad, 1.0, bad]):
        guard.note(counts(loss), step)
    for wait in (False, True):
        with pytest.raises(NotFinite) as caught:
            guard.check(wait)
        assert caught.value.step == 2
    guard.reset()
    guard.check(wait=True)


def test_a_bad_first_step_is_told():
    guard = NanGuard(torch.device("cpu"))
    guard.note(counts(float("nan")), 0)
    guard.note(counts(float("nan")), 1)
    with pytest.raises(NotFinite, match="^the loss is not finite, or exploded, at step 0 of the epoch: lower the "
                                        "learning rate$") as caught:
        guard.check()
    assert (caught.value.step, caught.value.epoch) == (0, None) and NotFinite(3, 2).epoch == 2


def test_on_a_gpu_the_host_reads_a_copy_that_may_be_old():
    early, guard = NanGuard(torch.device("cpu")), NanGuard(torch.device("cpu"))
    early.device = guard.device = torch.device("cuda")
    early.note(counts(float("nan")), 0)
    early.note(counts(float("nan")), 1)
    assert early.known(wait=True) == early.known() == 0
    guard.note(counts(1.0), 0)
    assert guard.known() == -1
    for step, loss in ((1, EXPLODED), (2, 2 * EXPLODED), (3, float("nan"))):
        guard.note(counts(loss), step)
    assert guard.first.tolist() == guard.copy.tolist() == guard.known() == 2
    # A copy that is still on its way.
    guard.copy.fill_(-1)
    guard.check()
    assert guard.known() == -1 and guard.known(wait=True) == 2
    with pytest.raises(NotFinite):
        guard.check(wait=True)
    guard.note(counts(1.0), 4)
    with pytest.raises(NotFinite) as caught:
        guard.check()
    assert caught.value.step == 2
    guard.reset()
    assert (guard.known(), guard.known(wait=True)) == (-1, -1)


def test_the_number_of_a_step_may_lie_on_the_device():
    guard = NanGuard(torch.device("cpu"))
    for step, loss in ((0, 1.0), (7, float("nan")), (9, float("nan"))):
        guard.mark(counts(loss), torch.tensor(step))
    assert guard.known() == guard.copy.tolist() == 7


def test_the_first_bad_step_lies_on_the_device_as_a_whole_number():
    first = NanGuard(torch.device("meta")).first
    assert (first.device.type, first.dtype, first.shape) == ("meta", torch.int64, ())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: the guard's copy is looked at when it arrives")
def test_on_a_gpu_nothing_waits_and_the_step_is_the_same():
    guard = NanGuard(torch.device("cuda"))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step, loss in enumerate([2.3, float("nan"), float("nan")]):
            guard.note(counts(loss).pin_memory().to("cuda", non_blocking=True), step)
            guard.check()
    except NotFinite as bad:
        assert bad.step == 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
    with pytest.raises(NotFinite) as caught:
        guard.check(wait=True)
    assert caught.value.step == 1


def test_finite_is_told_of_large_numbers_and_of_integers_too():
    assert all_finite([torch.tensor([3e38, -3e38]), torch.tensor(7)]) and all_finite([])
    assert not all_finite([torch.ones(3), torch.tensor([1.0, float("nan")])])
    assert not all_finite([torch.tensor([float("-inf")])])
    model = torch.nn.BatchNorm1d(2)
    assert finite_weights(model)
    model.running_var[1] = float("nan")
    assert not finite_weights(model)


@pytest.mark.parametrize(("known", "place", "accumulate", "expected"), [
    ([], [0, 0], 1, [[0, 0]]),
    ([[1, 2]], [1, 4], 1, [[1, 4]]),
    ([[1, 2]], [1, 3], 1, [[1, 1], [1, 3]]),
    ([[1, 2], [1, 3], [1, 1]], [1, 4], 1, [[1, 0], [1, 4]]),
    ([[0, 9]], [1, 0], 1, [[0, 8], [1, 0]]),
    ([[1, 0]], [1, 1], 1, [[0, 9], [1, 1]]),
    ([[0, 0]], [0, 1], 1, [[0, 1]]),
    ([[1, 4]], [1, 5], 2, [[1, 2], [1, 3], [1, 5]]),
    ([[1, 0]], [1, 1], 4, [[0, 8], [0, 9], [1, 1]])])
def test_batches_that_are_bad_in_a_row_make_the_update_before_them_suspect(known, place, accumulate, expected):
    assert suspects(known, place, 10, accumulate) == expected
