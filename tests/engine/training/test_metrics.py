import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.common.errors import EngineError
from engine.training.metrics import Metrics


def sample(count=200, classes=7, seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    logits = scale * torch.randn(count, classes, generator=generator)
    return logits + 1.5 * F.one_hot(labels, classes), labels


def measured(logits, labels, batch=64, classes=None):
    metrics = Metrics(classes or logits.shape[1], "cpu")
    for start in range(0, len(labels), batch):
        metrics.update(logits[start : start + batch], labels[start : start + batch])
    return metrics.result()


def plain(logits, labels):
    """The same numbers, a sample at a time."""
    count, classes = logits.shape
    confusion = np.zeros((classes, classes), dtype=np.int64)
    bins = [[] for _ in range(15)]
    loss = top5 = 0
    for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        log_total = math.log(sum(math.exp(value) for value in row))
        loss += log_total - row[label]
        ranked = sorted(range(classes), key=lambda c: (-row[c], c))
        confusion[label, ranked[0]] += 1
        top5 += label in ranked[:5]
        confidence = math.exp(row[ranked[0]] - log_total)
        bins[math.ceil(confidence * 15) - 1].append((confidence, ranked[0] == label))
    ece = sum(abs(sum(conf for conf, _ in b) - sum(right for _, right in b)) for b in bins) / count
    return loss / count, top5 / count, confusion, ece, bins


@pytest.mark.parametrize("batch", [1, 64, 200])
@pytest.mark.parametrize("classes", [2, 5, 7, 100])
def test_everything_equals_plain_python(batch, classes):
    logits, labels = sample(classes=classes)
    result = measured(logits, labels, batch)
    loss, top5, confusion, ece, bins = plain(logits, labels)
    assert result.count == 200 and result.nonfinite == 0
    assert result.loss == pytest.approx(loss, rel=1e-6)
    assert result.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-6)
    assert result.top1 == confusion.trace() / 200
    assert result.top5 == top5
    assert (result.confusion == confusion).all() and result.confusion.dtype == np.int64
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(result.per_class, confusion.diagonal() / confusion.sum(1))
    assert result.ece == pytest.approx(ece, rel=1e-6)
    assert result.bin_count.tolist() == [len(b) for b in bins] and result.bin_count.dtype == np.int64
    for i, members in enumerate(bins):
        if members:
            assert result.bin_confidence[i] == pytest.approx(np.mean([conf for conf, _ in members]), rel=1e-6)
            assert result.bin_accuracy[i] == pytest.approx(np.mean([right for _, right in members]))
        else:
            assert np.isnan(result.bin_confidence[i]) and np.isnan(result.bin_accuracy[i])


def test_a_class_without_samples_has_no_accuracy():
    result = measured(torch.eye(3)[:2], torch.tensor([0, 1]))
    np.testing.assert_array_equal(result.per_class, [1, 1, np.nan])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_not_finite_are_wrong_and_reported(bad):
    logits, labels = torch.eye(4) * 9, torch.arange(4)
    logits[0] = bad
    logits[1, 3] = bad
    result = measured(logits, labels)
    assert (result.count, result.nonfinite) == (4, 2)
    assert (result.top1, result.top5) == (0.5, 0.5)
    assert math.isnan(result.loss)
    np.testing.assert_array_equal(result.per_class, [0, 0, 1, 1])
    np.testing.assert_array_equal(result.confusion, np.diag([0, 0, 1, 1]))
    assert result.bin_count.sum() == 2
    assert result.ece == pytest.approx(1 - math.exp(9) / (math.exp(9) + 3), abs=1e-6)


def test_nothing_but_nan_is_no_accuracy_for_class_0():
    result = measured(torch.full((10, 5), float("nan")), torch.zeros(10, dtype=torch.int64))
    assert (result.top1, result.top5, result.nonfinite, result.per_class[0]) == (0, 0, 10, 0)
    assert math.isnan(result.loss) and math.isnan(result.ece)
    assert result.confusion.sum() == 0


def test_equal_logits_rank_by_class_number():
    result = measured(torch.zeros(10, 10), torch.arange(10))
    assert (result.top1, result.top5) == (0.1, 0.5)
    assert (result.confusion[:, 0] == 1).all()


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_top5_of_few_classes_is_all_of_them(classes):
    result = measured(*sample(20, classes))
    assert result.top5 == 1.0


def test_full_confidence_falls_into_the_last_bin():
    result = measured(torch.tensor([[200.0, 0.0], [0.0, 200.0]]), torch.tensor([0, 0]))
    assert result.bin_count.tolist() == [0] * 14 + [2]
    assert (result.bin_accuracy[14], result.bin_confidence[14], result.ece) == (0.5, 1.0, 0.5)


def test_summed_counters_are_those_of_the_whole():
    logits, labels = sample()
    parts = [Metrics(7, "cpu") for _ in range(3)]
    for part, index in zip(parts, torch.arange(200).split([50, 149, 1]), strict=True):
        part.update(logits[index], labels[index])
    summed = Metrics(7, "cpu")
    for tensor, *others in zip(summed.tensors, *(part.tensors for part in parts), strict=True):
        for other in others:
            tensor += other
    whole, result = measured(logits, labels), summed.result()
    assert result.loss == pytest.approx(whole.loss, rel=1e-12)
    assert (result.count, result.top1, result.top5) == (200, whole.top1, whole.top5)
    np.testing.assert_array_equal(result.confusion, whole.confusion)
    assert result.ece == pytest.approx(whole.ece, rel=1e-12)


def test_the_batches_do_not_change_the_counts():
    logits, labels = sample()
    one, other = measured(logits, labels, 7), measured(logits, labels, 200)
    np.testing.assert_array_equal(one.confusion, other.confusion)
    assert one.bin_count.tolist() == other.bin_count.tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits(dtype):
    logits, labels = sample()
    result, exact = measured(logits.to(dtype), labels), measured(logits.to(dtype).float(), labels)
    assert (result.loss, result.top1) == (exact.loss, exact.top1)


def test_in_inference_mode_and_with_gradients():
    metrics, (logits, labels) = Metrics(7, "cpu"), sample()
    with torch.inference_mode():
        metrics.update(logits, labels)
    metrics.update(logits.clone().requires_grad_(), labels)
    result = metrics.result()
    assert result.count == 400
    assert result.loss == pytest.approx(measured(logits, labels).loss, rel=1e-12)
    assert not any(t.requires_grad for t in metrics.tensors)


def test_counts_are_exact_and_on_the_device():
    """A float32 stops counting at 16,777,216; sums of losses are float64."""
    for device in ("cpu", "meta"):
        tensors = Metrics(7, device).tensors
        assert [tensor.dtype for tensor in tensors] == [torch.int64] * 4 + [torch.float64] * 2
        assert {tensor.device.type for tensor in tensors} == {device}
        assert [tuple(tensor.shape) for tensor in tensors] == [(7, 8), (), (16,), (16,), (16,), ()]


def test_updates_do_not_wait_for_the_device():
    # On the meta device there are no values: reading one would raise.
    metrics = Metrics(7, "meta")
    logits, labels = sample()
    metrics.update(logits.to("meta"), labels.to("meta"))


def test_the_inputs_and_earlier_results_stay_as_they_are():
    metrics, (logits, labels) = Metrics(7, "cpu"), sample()
    logits[3] = float("nan")
    before = logits.clone()
    metrics.update(logits, labels)
    result = metrics.result()
    confusion = result.confusion.copy()
    metrics.update(logits, labels)
    with pytest.raises(FrozenInstanceError):
        result.top1 = 1.0
    assert torch.equal(logits.nan_to_num(), before.nan_to_num())
    np.testing.assert_array_equal(result.confusion, confusion)
    assert metrics.result().count == 400


def test_no_samples_are_no_result():
    with pytest.raises(EngineError, match="no sample was counted"):
        Metrics(3, "cpu").result()
