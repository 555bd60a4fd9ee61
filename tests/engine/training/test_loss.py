import math

import pytest
import torch
import torch.nn.functional as F

from engine.training.loss import mixed_cross_entropy

pytestmark = pytest.mark.filterwarnings("error")


def sample(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(6, 7, generator=generator)).to(dtype)
    return logits, torch.randint(7, (6,), generator=generator), torch.randint(7, (6,), generator=generator)


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_equals_torch_on_dense_soft_targets_with_its_gradient(lam, smoothing):
    logits, a, b = sample()
    dense = lam * F.one_hot(a, 7).double() + (1 - lam) * F.one_hot(b, 7).double()
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = mixed_cross_entropy(ours, a, b, lam, smoothing)
    expected = F.cross_entropy(theirs, dense, label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_plain_batch_is_torchs_cross_entropy(smoothing):
    logits, a, _ = sample()
    loss = mixed_cross_entropy(logits, a, a, 1.0, smoothing)
    torch.testing.assert_close(loss, F.cross_entropy(logits, a, label_smoothing=smoothing), rtol=1e-12, atol=1e-12)


def test_by_hand():
    logits, a, b = torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([0]), torch.tensor([1])
    own, other = -math.log(1 / 4), -math.log(3 / 4)
    assert mixed_cross_entropy(logits, a, b, 0.7).item() == pytest.approx(0.7 * own + 0.3 * other)
    target = 0.8 * 0.7 + 0.1
    smoothed = target * own + (1 - target) * other
    assert mixed_cross_entropy(logits, a, b, 0.7, 0.2).item() == pytest.approx(smoothed)


def test_a_scalar_tensor_weighs_like_a_number():
    logits, a, b = sample(torch.float32)
    assert torch.equal(
        mixed_cross_entropy(logits, a, b, torch.tensor(0.25), 0.1), mixed_cross_entropy(logits, a, b, 0.25, 0.1)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_fp32(dtype):
    logits, a, b = sample(dtype)
    loss = mixed_cross_entropy(logits, a, b, 0.3, 0.1)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, mixed_cross_entropy(logits.float(), a, b, 0.3, 0.1))


def test_nothing_waits_for_the_device():
    # On the meta device there are no values: reading one would raise.
    logits, a, b = (t.to("meta") for t in sample())
    assert mixed_cross_entropy(logits, a, b, 0.3, 0.1).shape == ()
    assert mixed_cross_entropy(logits, a, b, 0.3, torch.zeros((), device="meta")).shape == ()


def test_without_smoothing_a_class_that_is_ruled_out_costs_nothing():
    logits = torch.tensor([[0.0, 0.0, -math.inf]])
    assert mixed_cross_entropy(logits, torch.tensor([0]), torch.tensor([1]), 0.5).item() == pytest.approx(math.log(2))
