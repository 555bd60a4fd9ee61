"""Comparing logits, against figures worked out by hand."""

import pytest
import torch

from engine.common.errors import EngineError
from engine.exporting import verify

EXPECTED = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 1.0, 5.0], [4.0, 0.0, 1.0]])
LABELS = torch.tensor([0, 1, 2, 1])


def test_the_same_logits_agree_wholly():
    assert verify.check(EXPECTED, EXPECTED.clone(), LABELS) == verify.Check(0.0, 1.0, 0.75, 5.0)


def test_a_difference_and_a_changed_first_class_are_counted():
    came = EXPECTED.clone()
    came[3] = torch.tensor([4.0, 4.5, 1.0])
    assert verify.check(EXPECTED, came, LABELS) == verify.Check(4.5, 0.75, 1.0, 5.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_never_agree(bad):
    came = EXPECTED.clone()
    came[0, 0] = bad
    found = verify.check(EXPECTED, came, LABELS)
    assert found.max_difference > 1e30 and found.agreement == 0.75 and found.top1 == 0.5


def test_answers_come_in_order_from_batches_of_one_many_and_the_rest():
    sizes = []

    def answer(images_bhwc):
        sizes.append(len(images_bhwc))
        return images_bhwc.flatten(1)[:, :3].float()

    images_bhwc = torch.arange(600 * 3).reshape(600, 1, 1, 3).to(torch.uint8)
    came = verify.answers(answer, images_bhwc)
    assert sizes == [1, 250, 250, 99]
    assert torch.equal(came, images_bhwc.reshape(600, 3).float())


@pytest.mark.parametrize(("agreement", "passes"), [(1.0, True), (0.999, True), (0.998, False)])
def test_less_than_999_of_1000_is_refused(agreement, passes):
    found = verify.Check(0.5, agreement, 0.9, 5.0)
    if passes:
        verify.refuse("onnx", found)
    else:
        with pytest.raises(EngineError, match=r"--format onnx: .* 99.80% .*nothing was written"):
            verify.refuse("onnx", found)


@pytest.mark.parametrize(("top1", "passes"), [(0.95, True), (0.90, True), (0.89, True), (0.889, False)])
def test_more_than_a_point_of_accuracy_is_not_given_away(top1, passes):
    found = verify.Check(0.5, 0.5, top1, 5.0)
    if passes:
        verify.refuse_loss("int8", found, 0.90)
    else:
        with pytest.raises(EngineError, match=r"from 90.00% to 88.90%, at most 1 point"):
            verify.refuse_loss("int8", found, 0.90)


@pytest.mark.parametrize("wrong", [lambda logits: logits * 1.1, lambda logits: logits + 2,
                                   lambda logits: logits[[1, 0, 2, 3]], lambda logits: logits[:1].expand(4, 3)])
def test_a_network_of_one_answer_does_not_hide_a_wrong_file(wrong):
    expected = EXPECTED + torch.tensor([100.0, 0, 0])
    found = verify.check(expected, wrong(expected), LABELS)
    assert found.agreement == 1 and verify.refuse("onnx", found) is None
    with pytest.raises(EngineError, match=r"--format onnx: the exported network's logits are up to .* off, 1.04 are"):
        verify.refuse_difference("onnx", found)
    verify.refuse_difference("onnx", verify.check(expected, expected + 1e-4, LABELS))
    verify.refuse_difference("onnx", verify.check(EXPECTED * 0, EXPECTED * 1e-8, LABELS))
