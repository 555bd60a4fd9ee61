import math

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from engine.common.errors import EngineError
from engine.training.mixing import Mix, apply_mix, apply_row, cut, draw_mix, row_of


def batch(count=5, height=7, width=9, layout=torch.channels_last):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, height, width, generator=generator).contiguous(memory_format=layout)
    return images, torch.randint(10, (count,), generator=generator)


def plain_cutmix(images, box_px):
    """Pixel by pixel: inside the box the partner's, outside the own."""
    top, bottom, left, right = box_px
    mixed = images.clone()
    for i in range(len(images)):
        for y in range(top, bottom):
            for x in range(left, right):
                mixed[i, :, y, x] = images[i - 1, :, y, x]
    return mixed


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("box_px", [(1, 4, 2, 8), (0, 7, 0, 9), (3, 3, 2, 5), (6, 7, 8, 9)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_cutmix_pixel_by_pixel(layout, box_px, count):
    images, labels = batch(count, layout=layout)
    before = images.clone()
    mixed, labels_a, labels_b, lam = apply_mix(images, labels, Mix("cutmix", 0.5, box_px))
    assert torch.equal(mixed, plain_cutmix(images, box_px))
    assert labels_a.tolist() == labels.tolist()
    assert labels_b.tolist() == [labels[i - 1].item() for i in range(count)]
    assert lam == 0.5
    assert torch.equal(images, before)
    assert mixed.stride() == images.stride()


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("lam", [0.0, 0.3, 0.75, 1.0])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_mixup_pixel_by_pixel(layout, lam, count):
    images, labels = batch(count, layout=layout)
    before = images.clone()
    mixed, labels_a, labels_b, share = apply_mix(images, labels, Mix("mixup", lam))
    for i in range(count):
        torch.testing.assert_close(mixed[i], lam * images[i] + (1 - lam) * images[i - 1], rtol=1e-5, atol=1e-6)
    assert labels_a.tolist() == labels.tolist()
    assert labels_b.tolist() == [labels[i - 1].item() for i in range(count)]
    assert share == lam
    assert torch.equal(images, before)
    assert mixed.stride() == images.stride()


def dense(labels_a, labels_b, lam, classes=10):
    one_hot = torch.nn.functional.one_hot
    return lam * one_hot(labels_a, classes).float() + (1 - lam) * one_hot(labels_b, classes).float()


def test_cutmix_is_torchvisions_for_the_same_box():
    images, labels = batch()
    for seed in range(20):
        mix = draw_mix(seed, 1, 2, 7, 9, cutmix_p=1.0)
        top, bottom, left, right = mix.box_px
        theirs = v2.CutMix(num_classes=10)
        params = {
            "labels": labels, "batch_size": 5, "box": (left, top, right, bottom), "lam_adjusted": mix.lam,
        }
        mixed, labels_a, labels_b, lam = apply_mix(images, labels, mix)
        assert torch.equal(mixed, theirs.transform(images, params))
        torch.testing.assert_close(dense(labels_a, labels_b, lam), theirs.transform(labels, params))


def test_mixup_is_torchvisions_for_the_same_share():
    images, labels = batch()
    for lam in (0.0, 0.1, 0.5, 0.9, 1.0):
        theirs = v2.MixUp(num_classes=10)
        params = {"labels": labels, "batch_size": 5, "lam": lam}
        mixed, labels_a, labels_b, share = apply_mix(images, labels, Mix("mixup", lam))
        torch.testing.assert_close(mixed, theirs.transform(images, params), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(dense(labels_a, labels_b, share), theirs.transform(labels, params))


def test_the_box_is_torchvisions_for_the_same_draws(monkeypatch):
    theirs = v2.CutMix(num_classes=10)
    images = torch.zeros(2, 3, 32, 24)
    for share in (0.0, 0.05, 0.4, 0.77, 0.999, 1.0):
        for y, x in ((0, 0), (31, 23), (5, 20), (16, 12)):
            centres = iter([torch.tensor([x]), torch.tensor([y])])
            monkeypatch.setattr(theirs, "_dist", torch.distributions.Uniform(share, share + 1e-9, validate_args=False))
            monkeypatch.setattr(theirs._dist, "sample", lambda _, share=share: share)
            monkeypatch.setattr(torch, "randint", lambda *_, centres=centres, **__: next(centres))
            params = theirs.make_params([images])
            monkeypatch.undo()
            mix = cut(32, 24, share, y, x)
            top, bottom, left, right = mix.box_px
            assert params["box"] == (left, top, right, bottom)
            assert params["lam_adjusted"] == pytest.approx(mix.lam, abs=1e-12)


def test_lam_is_the_true_share_of_the_own_pixels():
    own, other = torch.zeros(1, 1, 32, 32), torch.ones(1, 1, 32, 32)
    for step in range(200):
        mix = draw_mix(0, 0, step, 32, 32, cutmix_p=1.0)
        mixed = apply_mix(torch.cat([other, own]), torch.tensor([1, 0]), mix)[0]
        assert mix.lam == pytest.approx((mixed[1] == 0).double().mean().item(), abs=1e-12)


def test_half_and_whole_numbers():
    images, labels = batch()
    pixels = (images * 50).to(torch.uint8)
    mix = Mix("cutmix", 0.5, (1, 4, 2, 8))
    assert torch.equal(apply_mix(pixels, labels, mix)[0], plain_cutmix(pixels, mix.box_px))
    half = apply_mix(images.half(), labels, Mix("mixup", 0.25))[0]
    assert half.dtype == torch.float16
    with pytest.raises(EngineError, match=r"MixUp needs floating-point images, not torch\.uint8"):
        apply_mix(pixels, labels, Mix("mixup", 0.5))


def test_a_box_for_larger_images_is_refused():
    images, labels = batch()
    with pytest.raises(EngineError, match=r"a CutMix box to \(8, 8\) does not fit images of \(7, 9\) px"):
        apply_mix(images, labels, Mix("cutmix", 0.5, (1, 8, 2, 8)))


@pytest.mark.parametrize("mix", [Mix("cutmix", 0.5, (1, 4, 2, 8)), Mix("mixup", 0.5)])
def test_nothing_waits_for_the_device(mix):
    # On the meta device there are no values: reading one would raise.
    images, labels = torch.empty(4, 3, 8, 8, device="meta"), torch.empty(4, dtype=torch.int64, device="meta")
    mixed, *_ = apply_mix(images, labels, mix)
    assert mixed.shape == images.shape
    mixed, others, lam, smoothing = apply_row(images, labels, row_of(mix, 0.1).to("meta"))
    assert {tensor.device.type for tensor in (mixed, others, lam, smoothing)} == {"meta"}


def test_a_batchs_row_by_hand():
    for mix, expected in ((None, [1, 1, 0, 0, 0, 0, 1]), (Mix("mixup", 0.25), [0.25, 1, 0, 0, 0, 0, 0.25]),
                          (Mix("cutmix", 0.75, (1, 2, 3, 7)), [1, 0, 1, 2, 3, 7, 0.75])):
        row = row_of(mix, 0.125)
        assert row.dtype == torch.float32 and row.tolist() == [*expected, 0.125]


def test_draws_are_a_pure_function_of_seed_epoch_and_step():
    both = {"cutmix_p": 0.5, "mixup_p": 0.5}
    first = {(s, e, i): draw_mix(s, e, i, 32, 32, **both) for s in range(4) for e in range(4) for i in range(4)}
    np.random.seed(7)
    again = {key: draw_mix(*key, 32, 32, **both) for key in reversed(list(first))}
    assert first == again
    assert len({mix.lam for mix in first.values() if mix.kind == "mixup"}) > 20
    assert len(set(first.values())) > 55


@pytest.mark.parametrize(
    ("cutmix_p", "mixup_p"), [(0.3, 0.0), (0.0, 0.3), (0.5, 0.5), (0.2, 0.5), (1.0, 0.0), (0.0, 1.0)]
)
def test_how_often_each_is_drawn(cutmix_p, mixup_p):
    count = 2000
    kinds = []
    for step in range(count):
        mix = draw_mix(1, 0, step, 32, 32, cutmix_p=cutmix_p, mixup_p=mixup_p)
        kinds.append(mix.kind if mix else None)
    for kind, p in (("cutmix", cutmix_p), ("mixup", mixup_p), (None, 1 - cutmix_p - mixup_p)):
        assert abs(kinds.count(kind) / count - p) <= 4 * math.sqrt(p * (1 - p) / count) + 1e-9


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 4.0])
def test_shares_are_beta_distributed(alpha):
    shares = np.array([draw_mix(0, 0, i, 32, 32, mixup_p=1.0, mixup_alpha=alpha).lam for i in range(2000)])
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(shares.mean() - 0.5) < 4 * math.sqrt(variance / 2000)
    assert shares.var() == pytest.approx(variance, rel=0.1)
    assert ((shares >= 0) & (shares <= 1)).all()


def test_boxes_reach_every_pixel_and_stay_inside():
    covered = np.zeros((12, 20), dtype=bool)
    for step in range(300):
        top, bottom, left, right = draw_mix(0, 3, step, 12, 20, cutmix_p=1.0).box_px
        assert 0 <= top <= bottom <= 12 and 0 <= left <= right <= 20
        covered[top:bottom, left:right] = True
    assert covered.all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cutmix_p": -0.1}, "the probability of cutmix, -0.1, must be between 0 and 1"),
        ({"mixup_p": 1.1}, "the probability of mixup, 1.1"),
        ({"cutmix_p": 0.6, "mixup_p": 0.6}, "must not exceed 1 in sum"),
        ({"cutmix_p": 0.5, "cutmix_alpha": 0.0}, "mix.cutmix_alpha=0.0 must be above 0"),
        ({"mixup_p": 0.5, "mixup_alpha": float("nan")}, "mix.mixup_alpha=nan"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(EngineError, match=message):
        draw_mix(0, 0, 0, 32, 32, **settings)
