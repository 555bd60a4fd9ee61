"""Each operation against torchvision's function with the same drawn parameters, to one grey level.

They are equal where torchvision computes exact integers: crop, flip, invert, posterize, solarize, equalize. The four
parts of a jitter in sequence may differ by four levels: each rounds once, and the next amplifies.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from loaders.policy import weight_tables
from loaders.policy.passes import PERMUTATIONS
from loaders.policy.policy import parse
from tests.loaders.images import MEAN_RGB, images, on_host
from tests.loaders.reference import Reference
from tests.loaders.reference_values import below, below_low

SEED, EPOCH, COUNT = 5, 2, 8
BILINEAR = InterpolationMode.BILINEAR
FILLS = {"zero": (0, 0, 0), "mean": MEAN_RGB}
SHAPES = st.tuples(st.integers(4, 40), st.integers(4, 40))
quick = settings(max_examples=25, deadline=None, derandomize=True)


def worst(text: str, shape: tuple[int, int], theirs, seed: int = SEED) -> int:
    """The largest difference over a batch; theirs(image chw, op, sample) is torchvision's image."""
    policy = parse(text, *shape)
    batch_nhwc = images(COUNT, *shape, seed=seed)
    ours = on_host(text, batch_nhwc, range(COUNT), seed, EPOCH)
    largest = 0
    for k in range(COUNT):
        sample = Reference(policy, seed, EPOCH, k, MEAN_RGB)
        image = torch.from_numpy(batch_nhwc[k]).permute(2, 0, 1).contiguous()
        wanted = theirs(image, policy.passes[0].ops[0], sample).permute(1, 2, 0).numpy()
        largest = max(largest, int(np.abs(wanted.astype(int) - ours[k].astype(int)).max()))
    return largest


def filled(move, image, fill: str):
    """move(image) with the outside at a colour. With its own `fill`, torchvision fades the border twice: once by zeros
    outside, once by its mask; so the image is moved relative to the colour, in floats, over zeros."""
    colour = torch.tensor(FILLS[fill], dtype=torch.float32)[:, None, None]
    return (move(image.float() - colour) + colour).round().to(torch.uint8)


def factor_of(sample: Reference, op) -> float:
    return sample.value(op.ranges[0]) / 65536


@quick
@given(SHAPES, st.integers(1, 3), st.sampled_from(["constant", "reflect"]), st.integers(0, 99))
def test_crop_and_flip_are_exact(shape, pad_px, mode, seed):
    fill = "zero" if mode == "constant" else "reflect"

    def theirs(image, op, sample):
        bits = sample.draw(op.slot)
        padded = F.pad(image, [pad_px] * 4, padding_mode=mode)
        top, left = below(bits, 2 * pad_px + 1), below_low(bits, 2 * pad_px + 1)
        cropped = F.crop(padded, top, left, *shape)
        return F.horizontal_flip(cropped) if sample.active(sample.policy.passes[0].ops[1]) else cropped

    assert worst(f"crop(pad_px={pad_px}, fill={fill}), flip()", shape, theirs, seed) == 0


@quick
@given(SHAPES, st.integers(0, 99), st.sampled_from(["zero", "mean"]), st.floats(0, 180), st.floats(0, 0.5),
       st.floats(0.5, 2), st.floats(0, 40))
def test_affine(shape, seed, fill, rotate, shift, scale, shear):
    def theirs(image, op, sample):
        angle, tx, ty, scaled, sheared, _ = (sample.value(range_) / 65536 for range_ in op.ranges)
        return filled(lambda x: F.affine(x, angle, [tx, ty], scaled, [sheared, 0.0], BILINEAR), image, fill)

    text = (f"affine(rotate_deg={rotate!r}, translate={shift!r}, scale=({scale!r}, 2.0), shear_deg={shear + .01!r}, "
            f"fill={fill})")
    assert worst(text, shape, theirs, seed) <= 1


@quick
@given(st.tuples(st.integers(8, 40), st.integers(8, 40)), st.integers(0, 99), st.sampled_from(["zero", "mean"]),
       st.floats(0.3, 0.6))
def test_perspective(shape, seed, fill, distortion):
    height, width = shape

    def theirs(image, op, sample):
        corners = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
        moved = []
        for k, (x, y) in enumerate(corners):
            bits = sample.draw(op.slot + k)
            dx, dy = below(bits, op.constants[0] + 1), below_low(bits, op.constants[1] + 1)
            moved.append([x - dx if x else dx, y - dy if y else dy])
        return filled(lambda x: F.perspective(x, corners, moved, BILINEAR), image, fill)

    assert worst(f"perspective(p=1, distortion={distortion!r}, fill={fill})", shape, theirs, seed) <= 1


@quick
@given(st.tuples(st.integers(4, 32), st.integers(4, 32)), st.integers(33, 90))
def test_enlarging(shape, px):
    assert worst(f"resize(px={px})", shape, lambda image, op, sample: F.resize(image, [px, px], BILINEAR)) <= 1


@quick
@given(st.tuples(st.integers(9, 40), st.integers(9, 40)), st.integers(4, 8))
def test_shrinking_is_the_anti_aliased_resize(shape, px):
    def theirs(image, op, sample):
        return F.resize(image, [px, px], BILINEAR, antialias=True)

    assert worst(f"resize(px={px})", shape, theirs) <= 1


def test_enlarging_then_rotating_gives_what_two_samplings_give_on_smooth_images():
    """One sampling instead of two: equal up to the second one's blur, the frame's edges included."""
    slope = np.add.outer(np.arange(32) * 3, np.arange(32) * 4)[None, ..., None] + np.array([0, 10, 20])
    smooth = np.repeat(slope, 4, 0).astype(np.uint8)
    text = "resize(px=224), affine(rotate_deg=15, translate=.1)"
    policy = parse(text)
    for k, ours in enumerate(on_host(text, smooth, range(4), SEED, EPOCH)):
        sample = Reference(policy, SEED, EPOCH, k, MEAN_RGB)
        angle, tx, ty, *_ = (sample.value(range_) / 65536 for range_ in policy.passes[0].ops[1].ranges)
        large = F.resize(torch.from_numpy(smooth[k]).permute(2, 0, 1), [224, 224], BILINEAR)
        theirs = F.affine(large, angle, [tx, ty], 1.0, [0.0, 0.0], BILINEAR).permute(1, 2, 0).numpy()
        assert np.abs(theirs.astype(int) - ours.astype(int)).max() <= 3


def adjusted(which: int, image, factor: float):
    functions = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    return functions[which](image, factor)


@pytest.mark.parametrize("which, name, low, high", [
    (0, "brightness", 0, 3), (1, "contrast", 0, 3), (2, "saturation", 0, 2), (3, "hue", -0.5, 0.5),
])
@quick
@given(shape=SHAPES, seed=st.integers(0, 99), part=st.floats(0, 1))
def test_colour_factors(which, name, low, high, shape, seed, part):
    """One adjustment with the others neutral. A level of luma is worth |1 - factor| of saturation: factors to 2."""
    def theirs(image, op, sample):
        return adjusted(which, image, sample.value(op.ranges[which]) / 65536)

    assert worst(f"jitter({name}=({low}, {high * (0.1 + 0.9 * part)!r}))", shape, theirs, seed) <= 1


@quick
@given(SHAPES, st.integers(0, 99))
def test_jitter_follows_torchvisions_order(shape, seed):
    """Four roundings, the later ones amplifying the earlier: within four levels."""
    def theirs(image, op, sample):
        for which in PERMUTATIONS[below(sample.draw(op.slot + 4), 24)]:
            image = adjusted(which, image, sample.value(op.ranges[which]) / 65536)
        return image

    assert worst("jitter(brightness=.3, contrast=.3, saturation=.3, hue=.1)", shape, theirs, seed) <= 4


@quick
@given(SHAPES, st.integers(0, 99), st.floats(0, 3), st.floats(0, 3))
def test_sharpness(shape, seed, low, more):
    assert worst(f"sharpness(factor=({low!r}, {low + more!r}))", shape,
                 lambda image, op, sample: F.adjust_sharpness(image, factor_of(sample, op)), seed) <= 1


@pytest.mark.parametrize("text, theirs, tolerance", [
    ("gray(p=1)", lambda image, op, sample: F.rgb_to_grayscale(image, 3), 1),
    ("invert()", lambda image, op, sample: F.invert(image), 0),
    ("equalize()", lambda image, op, sample: F.equalize(image), 0),
    ("autocontrast()", lambda image, op, sample: F.autocontrast(image), 1),
    ("posterize(bits=3)", lambda image, op, sample: F.posterize(image, 3), 0),
    ("solarize(threshold=(0, 255))", lambda image, op, sample: F.solarize(image, factor_of(sample, op)), 0),
])
@settings(max_examples=10, deadline=None, derandomize=True)
@given(shape=SHAPES, seed=st.integers(0, 99))
def test_value_operations(text, theirs, tolerance, shape, seed):
    assert worst(text, shape, theirs, seed) <= tolerance


@quick
@given(st.tuples(st.integers(8, 20), st.integers(8, 20)), st.sampled_from([3, 5, 7, 13]), st.floats(0.3, 3),
       st.floats(0, 3))
def test_blur(shape, kernel_px, low, more):
    def theirs(image, op, sample):
        sigma = weight_tables.sigma_of(below(sample.draw(op.slot), 64), low, low + more)
        return F.gaussian_blur(image, [kernel_px, kernel_px], [sigma, sigma])

    assert worst(f"blur(kernel_px={kernel_px}, sigma=({low!r}, {low + more!r}))", shape, theirs) <= 1


def test_erased_rectangles_have_the_requested_areas_and_ratios():
    """torchvision's rule on the drawn numbers; ten failed tries leave at most 2 % of the images whole."""
    batch_nhwc = np.full((400, 32, 32, 3), 255, np.uint8)
    erased = on_host("erase(p=1, scale=(.02, .33), fill=zero)", batch_nhwc, range(400), SEED, EPOCH)[..., 0] == 0
    heights, widths = erased.any(2).sum(1), erased.any(1).sum(1)
    assert np.array_equal(erased.sum((1, 2)), heights * widths)
    assert heights.max() < 32 and widths.max() < 32 and (heights == 0).mean() < 0.02
    areas, ratios = heights * widths / 1024, heights / np.maximum(widths, 1)
    assert 0.01 < areas.min() and areas.max() < 0.36 and abs(areas.mean() - 0.17) < 0.02
    assert 0.2 < ratios.min() and ratios.max() < 4.5 and abs(np.log(ratios).mean()) < 0.12


def test_noise_is_gaussian_with_the_requested_sigma():
    grey = np.full((64, 32, 32, 3), 128, np.uint8)
    noise = on_host("noise(sigma=.05)", grey, range(64), SEED, EPOCH).astype(float) - 128
    assert abs(noise.mean()) < 0.1 and abs(noise.std() - 0.05 * 255) < 0.1
    standard = noise / noise.std()
    assert abs((standard**3).mean()) < 0.05 and abs((standard**4).mean() - 2.85) < 0.1
    assert abs(np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.01
