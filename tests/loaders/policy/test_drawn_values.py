"""How changes of values are drawn, measured on the pixels alone: ranges, single numbers, order, probabilities."""

import colorsys
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch
from torchvision.transforms import functional as F

from tests.loaders.images import MEAN_RGB, on_host
from tests.loaders.laws import check_equally_likely, check_probability, check_uniform, check_unrelated

# torchvision's and Pillow's weights of red, green and blue.
LUMA = np.array([0.299, 0.587, 0.114])


def flat(colour, count: int = 1500, side: int = 8) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8), (count, side, side, 3)).copy()


def changed(text: str, images_nhwc: np.ndarray) -> np.ndarray:
    """float (N, H, W, 3)"""
    return on_host(text, images_nhwc, range(len(images_nhwc)), seed=31, epoch=2).astype(float)


@pytest.mark.parametrize("value, low, high", [(".3", 0.7, 1.3), ("1", 0, 2), ("(.2, .9)", 0.2, 0.9)])
def test_brightness_is_a_factor(value, low, high):
    check_uniform(changed(f"jitter(brightness={value})", flat((110,) * 3))[:, 0, 0, 0] / 110, low, high, 0.01)


@pytest.mark.parametrize("value, low, high", [(".4", 0.6, 1.4), ("(0, .5)", 0, 0.5)])
def test_contrast_is_the_factor_of_the_distance_from_the_mean_grey(value, low, high):
    images = flat((70,) * 3)
    images[:, ::2] = 170
    made = changed(f"jitter(contrast={value})", images)
    check_uniform((made[:, 0, 0, 0] - made[:, 1, 0, 0]) / 100, low, high, 0.02)
    assert np.abs((made[:, 0, 0, 0] + made[:, 1, 0, 0]) / 2 - 120).max() < 2


@pytest.mark.parametrize("value, low, high", [(".5", 0.5, 1.5), ("(0, .5)", 0, 0.5)])
def test_saturation_is_the_factor_of_the_distance_from_the_pixels_grey(value, low, high):
    colour = np.array([160, 100, 90])
    made = changed(f"jitter(saturation={value})", flat(colour))[:, 0, 0]
    check_uniform((made[:, 0] - made[:, 2]) / 70, low, high, 0.03)
    assert np.abs(made @ LUMA - colour @ LUMA).max() < 2


@pytest.mark.parametrize("value, low, high", [(".2", -0.2, 0.2), ("(.05, .3)", 0.05, 0.3), (".5", -0.5, 0.5)])
def test_hue_turns_by_a_share_of_the_circle(value, low, high):
    colour = np.array([40, 200, 90])
    before = colorsys.rgb_to_hsv(*colour / 255)[0]
    turns = [colorsys.rgb_to_hsv(*pixel / 255)[0] - before
             for pixel in changed(f"jitter(hue={value})", flat(colour))[:, 0, 0]]
    middle = (low + high) / 2
    check_uniform([(turn - middle + 0.5) % 1 - 0.5 + middle for turn in turns], low, high, 0.005)


def test_the_four_parts_of_a_jitter_are_drawn_apart():
    """Three flat areas of one image tell the factors; only one of them follows another part of the jitter."""
    images = flat((100,) * 3, 2000)
    grey = changed("jitter(brightness=.3, hue=.1)", images)[:, 0, 0, 0]
    images[:, :, 4:] = 140
    two = changed("jitter(brightness=.3, contrast=.3)", images)
    check_uniform(grey / 100, 0.7, 1.3, 0.01)
    factor = two.mean((1, 2, 3)) / 120
    check_uniform(factor, 0.7, 1.3, 0.02)
    check_unrelated(factor, (two[:, 0, 7, 0] - two[:, 0, 0, 0]) / 40 / factor)


def test_a_jitters_order_is_one_of_24_each_equally_likely():
    """Fixed factors, so that torchvision's functions in each of the orders make all that can come out."""
    generator = np.random.default_rng(3)
    image = generator.integers(0, 256, (12, 12, 3)).astype(np.uint8)
    parts = [(F.adjust_brightness, 1.5), (F.adjust_contrast, 0.5), (F.adjust_saturation, 1.8), (F.adjust_hue, 0.2)]
    # Some orders make the same image; that one is as much likelier.
    orders = Counter()
    for order in permutations(parts):
        chw = torch.from_numpy(image).permute(2, 0, 1)
        for function, factor in order:
            chw = function(chw, factor)
        orders[tuple(chw.permute(1, 2, 0).flatten().tolist())] += 1
    ours = changed("jitter(brightness=(1.5, 1.5), contrast=(.5, .5), saturation=(1.8, 1.8), hue=(.2, .2))",
                   np.repeat(image[None], 2400, 0)).reshape(2400, 1, -1)
    off = np.abs(ours - np.array(list(orders))).mean(-1)
    assert off.min(1).max() < 1.5 and len(orders) > 20
    found = np.bincount(off.argmin(1), minlength=len(orders))
    expected = 100 * np.array(list(orders.values()))
    assert ((found - expected) ** 2 / expected).sum() < len(orders) + 5 * (2 * len(orders)) ** 0.5


@pytest.mark.parametrize("text, p", [("gray(p=.3)", 0.3), ("gray()", 0.1), ("maybe(.5, gray(p=.5))", 0.25)])
def test_gray_comes_with_its_probability(text, p):
    made = changed(text, flat((200, 100, 50), 3000))[:, 0, 0]
    check_probability(made[:, 0] == made[:, 2], p)


def test_one_of_acts_with_its_probability_and_chooses_evenly():
    made = changed("one_of(.6, invert(), gray(p=1), posterize(bits=1))", flat((200, 100, 50), 4000))[:, 0, 0]
    grey = float(int(np.array([200, 100, 50]) @ LUMA))
    names = {(200, 100, 50): "none", (55, 155, 205): "invert", (grey,) * 3: "gray", (128, 0, 0): "posterize"}
    drawn = [names[tuple(colour)] for colour in made]
    check_probability([name != "none" for name in drawn], 0.6)
    check_equally_likely([name for name in drawn if name != "none"], ["invert", "gray", "posterize"])


def test_blur_draws_its_sigma_uniformly():
    images = flat((0, 0, 0), 500, 40)
    images[:, :, 20] = 250
    profile = changed("blur(kernel_px=17, sigma=(.6, 1.8))", images)[:, 20, :, 0]
    offsets = np.arange(40) - 20
    check_uniform((profile @ offsets**2 / profile.sum(1)) ** 0.5, 0.6, 1.8, 0.03)


@pytest.mark.parametrize("value, low, high", [("(.02, .1)", 0.02, 0.1), (".06", 0.06, 0.06)])
def test_noise_draws_its_sigma_uniformly(value, low, high):
    spread = (changed(f"noise(sigma={value})", flat((128,) * 3, 400, 40)) - 128).std((1, 2, 3)) / 255
    if low == high:
        assert np.abs(spread / low - 1).max() < 0.05
    else:
        check_uniform(spread, low, high, 0.003)


@pytest.mark.parametrize("value, low, high", [("(60, 190)", 60, 190), ("(0, 256)", 0, 256)])
def test_solarize_draws_its_threshold_uniformly(value, low, high):
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    made = changed(f"solarize(threshold={value})", ramp.repeat(1000, 0).repeat(3, -1))
    check_uniform((made == ramp)[..., 0].sum((1, 2)), low, high, 1.5)


def test_solarize_without_a_threshold_inverts_the_upper_half():
    ramp = np.arange(256).reshape(1, 16, 16, 1).repeat(3, -1).astype(np.uint8)
    assert np.array_equal(changed("solarize()", ramp), np.where(ramp >= 128, 255 - ramp, ramp))


def test_sharpness_draws_its_factor_uniformly():
    images = flat((100,) * 3)
    images[:, 4, 4] = 140
    # The smoothed pixel is (5 * 140 + 8 * 100) / 13 = 115.4 (Pillow's SMOOTH), and the factor counts from there.
    check_uniform((changed("sharpness(factor=(.5, 4))", images)[:, 4, 4, 0] - 115.4) / 24.6, 0.5, 4, 0.05)


@pytest.mark.parametrize("fill, colour", [("mean", MEAN_RGB), ("zero", (0, 0, 0))])
def test_a_fill_paints_its_colour_channel_by_channel(fill, colour):
    for text in (f"cutout(hole_px=4, fill={fill})", f"erase(p=1, scale=.2, ratio=1, fill={fill})",
                 f"coarse_dropout(hole_px=4, fill={fill})", f"crop(pad_px=4, fill={fill})"):
        made = changed(text, flat((200, 201, 202), 50))
        assert {tuple(pixel) for pixel in made.reshape(-1, 3)} == {(200, 201, 202), colour}, text
