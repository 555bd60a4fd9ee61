"""Comparing logits, against figures worked out by hand."""

import pytest
import torch

from engine.common.errors import EngineError
from engine.exporting import verify

EXPECTED = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 1.0, 5.0], [4.0, 0.0, 1.0]])
LABELS = torch.tensor([0, 1, 2, 1])


def compared(max_difference, agreement, top1):
    return {"max_difference": max_difference, "agreement": agreement, "top1": top1}


def test_equal_logits_agree_entirely():
    assert verify.compare(EXPECTED, EXPECTED.clone(), LABELS) == compared(0.0, 1.0, 0.75)


def test_a_difference_and_a_changed_first_class_are_counted():
    actual = EXPECTED.clone()
    actual[3] = torch.tensor([4.0, 4.5, 1.0])
    assert verify.compare(EXPECTED, actual, LABELS) == compared(4.5, 0.75, 1.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_never_agree(bad):
    actual = EXPECTED.clone()
    actual[0, 0] = bad
    found = verify.compare(EXPECTED, actual, LABELS)
    assert found["max_difference"] > 1e30 and found["agreement"] == 0.75 and found["top1"] == 0.5


def test_logits_come_in_order_from_batches_of_one_many_and_the_rest():
    sizes = []

    def logits(images_bhwc):
        sizes.append(len(images_bhwc))
        return images_bhwc.flatten(1)[:, :3].float()

    images_bhwc = torch.arange(600 * 3).reshape(600, 1, 1, 3).to(torch.uint8)
    actual = verify.all_logits(logits, images_bhwc)
    assert sizes == [1, 250, 250, 99]
    assert torch.equal(actual, images_bhwc.reshape(600, 3).float())


@pytest.mark.parametrize(("agreement", "passes"), [(1.0, True), (0.999, True), (0.998, False)])
def test_less_than_999_of_1000_is_refused(agreement, passes):
    found = compared(0.0, agreement, 0.9)
    if passes:
        verify.refuse("onnx", **found, spread=5.0)
    else:
        with pytest.raises(EngineError, match=r"--format onnx: .* 99.80% .*nothing was written"):
            verify.refuse("onnx", **found, spread=5.0)


@pytest.mark.parametrize(("top1", "passes"), [(0.95, True), (0.90, True), (0.89, True), (0.889, False)])
def test_losing_more_than_a_point_of_accuracy_is_refused(top1, passes):
    found = compared(0.5, 0.8, top1)
    if passes:
        verify.refuse("int8", **found, spread=5.0, original_top1=0.90)
    else:
        with pytest.raises(EngineError, match=r"from 90.00% to 88.90%, at most 1% may be lost"):
            verify.refuse("int8", **found, spread=5.0, original_top1=0.90)


@pytest.mark.parametrize("wrong", [lambda logits: logits * 1.1, lambda logits: logits + 2,
                                   lambda logits: logits[[1, 0, 2, 3]], lambda logits: logits[:1].expand(4, 3)])
def test_a_network_of_one_class_does_not_hide_a_wrong_file(wrong):
    expected = EXPECTED + torch.tensor([100.0, 0, 0])
    found = verify.compare(expected, wrong(expected), LABELS)
    assert found["agreement"] == 1
    with pytest.raises(EngineError, match=r"--format onnx: the exported network's logits are up to .* off, 1.04 are"):
        verify.refuse("onnx", **found, spread=104.0)
    verify.refuse("onnx", **verify.compare(expected, expected + 1e-4, LABELS), spread=104.0)
    verify.refuse("onnx", **verify.compare(EXPECTED * 0, EXPECTED * 1e-8, LABELS) | {"agreement": 1.0}, spread=0.0)
