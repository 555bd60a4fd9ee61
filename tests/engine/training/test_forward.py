"""A batch mixed by a row of numbers gives what it gives mixed by a Mix: plain, under CutMix and under MixUp."""

import pytest
import torch

from engine.training.forward import ForwardPass, ToInput
from engine.training.mixing import Mix
from engine.training.precision import Precision

CPU = torch.device("cpu")
MIXES = {"plain": None, "cutmix": Mix("cutmix", 1 - 6 / 64, (1, 3, 2, 5)), "mixup": Mix("mixup", 0.3),
         "an empty box": Mix("cutmix", 1.0, (4, 4, 0, 0)), "the whole image": Mix("cutmix", 0.0, (0, 8, 0, 8))}


def forward_pass(**options):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
                                torch.nn.Flatten(), torch.nn.Linear(4, 5))
    return ForwardPass(model, ToInput((0.5, 0.4, 0.3), (0.2, 0.25, 0.3), CPU), Precision("fp32", CPU), **options)


def batch():
    torch.manual_seed(1)
    return torch.randint(0, 256, (6, 8, 8, 3), dtype=torch.uint8), torch.randint(0, 5, (6,))


@pytest.mark.parametrize("smooth_mixed", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("name", MIXES)
def test_a_row_gives_what_a_mix_gives(name, smoothing, smooth_mixed):
    made = forward_pass(smoothing=smoothing, smooth_mixed=smooth_mixed, mixes=True)
    images, labels = batch()
    loss, counts = made.loss(images, labels, None, MIXES[name])
    other, other_counts = made.loss(images, labels, None, made.row_of(MIXES[name]))
    torch.testing.assert_close(other, loss, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(other_counts, counts, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size_px", [None, 6])
@pytest.mark.parametrize("name", ["cutmix", "mixup"])
def test_blocks_that_know_what_comes_before_them_are_mixed_as_the_whole_batch(name, size_px):
    made, seen = forward_pass(mixes=True), []
    made.model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    (images, labels), mix = batch(), {"cutmix": Mix("cutmix", 0.9, (1, 3, 2, 5)), "mixup": Mix("mixup", 0.3)}[name]
    for how in (mix, made.row_of(mix)):
        seen.clear()
        whole = made.loss(images, labels, size_px, how)
        parts = [made.loss(images[first:stop], labels[first:stop], size_px, how,
                           (images[first - 1][None], labels[first - 1][None]))
                 for first, stop in ((0, 4), (4, 6))]
        assert torch.equal(torch.cat(seen[1:]), seen[0])
        torch.testing.assert_close((4 * parts[0][0] + 2 * parts[1][0]) / 6, whole[0])
        torch.testing.assert_close(parts[0][1] + parts[1][1], whole[1])


def test_mixed_images_are_the_same_pixels():
    seen = []
    made = forward_pass(mixes=True)
    made.model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    images, labels = batch()
    for mix in MIXES.values():
        made.loss(images, labels, None, mix)
        made.loss(images, labels, None, made.row_of(mix))
        torch.testing.assert_close(seen[-1], seen[-2], rtol=0, atol=0)


def test_a_smaller_size_reaches_the_network_and_a_recipe_without_mixing_has_no_row():
    made, seen = forward_pass(), []
    made.model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    images, labels = batch()
    made.loss(images, labels, 6, None)
    assert seen == [(6, 3, 6, 6)] and made.row_of(None) is None


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
@pytest.mark.parametrize("size_px", [None, 6])
def test_nothing_waits_for_the_device_and_all_of_it_lies_there(mix, size_px):
    """On the meta device there are no values: reading one would raise, and so would adding one of another device."""
    meta = torch.device("meta")
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(5, device=meta))
    made = ForwardPass(model, ToInput((0.5, 0.4, 0.3), (0.2, 0.25, 0.3), meta), Precision("fp32", meta), smoothing=0.1,
                       mixes=True)
    images, labels = (tensor.to(meta) for tensor in batch())
    if mix and size_px:
        mix = Mix(mix.kind, mix.lam, mix.box_px and (1, 3, 2, 5))
    for how in (mix, made.row_of(mix).to(meta)):
        for before in (None, (images[:1], labels[:1])):
            loss, counts = made.loss(images, labels, size_px, how, before)
            assert (loss.shape, loss.dtype, loss.device) == ((), torch.float32, meta)
            assert (counts.shape, counts.dtype, counts.device) == ((3,), torch.float64, meta)
            assert not counts.requires_grad
            made.backward(loss, 0.5)
            assert model[1].weight.grad.device == meta
