"""Kernels under Triton's interpreter give the pixels of batched torch and of the host, bit for bit."""

import numpy as np
import pytest
import torch

from loaders.common import counter_rng
from loaders.common.errors import DataError
from loaders.device.executor import DevicePolicy, keys_of
from loaders.policy.named_policies import POLICIES
from loaders.policy.policy import parse
from tests.loaders.images import CIFAR_SIZED, EACH, MEAN_RGB, SMALL, images, on_host

pytestmark = pytest.mark.slow("the interpreter needs a process of its own")
# Random policies: how many, of how many operations at most, for images of which sides.
RANDOM, MOST_OPERATIONS, SIDES_PX = 24, 4, (4, 41)


def check(interpreted, text, images_nhwc, indices, seed=3, epoch=7, kernels=None):
    """Compare with batched torch and the host; kernels: how many runs must be kernels, by default at least 1."""
    got, count = interpreted(text, images_nhwc, indices, seed, epoch)
    policy = DevicePolicy(parse(text, *images_nhwc.shape[1:3]), mean_rgb=MEAN_RGB, device="cpu")
    batched = policy(torch.from_numpy(images_nhwc), torch.as_tensor(np.asarray(indices)), keys_of(seed, epoch, "cpu"))
    np.testing.assert_array_equal(got, batched.numpy(), err_msg=text)
    np.testing.assert_array_equal(got, on_host(text, images_nhwc, indices, seed, epoch), err_msg=text)
    assert count == kernels if kernels is not None else count


@pytest.mark.parametrize("text", EACH[1:])
def test_each_operation(interpreted, text):
    check(interpreted, text, SMALL, range(12))


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "resnet50"])
def test_named_policies_in_one_kernel_in_every_epoch(interpreted, name):
    for seed, epoch in ((0, 0), (0, 1), (2**63 - 1, 2**31 - 1)):
        check(interpreted, name, CIFAR_SIZED, [11, 3, 15, 8], seed, epoch, kernels=1)


def test_an_image_of_224_px_is_made_of_many_tiles(interpreted):
    check(interpreted, "resnet50", CIFAR_SIZED, [15], kernels=2)


def random_case(number):
    """(policy text, height, width, seed, epoch), drawn from `number`."""
    generator = np.random.default_rng(number)
    height, width = generator.integers(*SIDES_PX, 2).tolist()
    texts = generator.choice(EACH[1:], generator.integers(1, MOST_OPERATIONS + 1)).tolist()
    return ", ".join(texts), height, width, int(generator.integers(2**63)), int(generator.integers(2**31))


def random_cases():
    """The first RANDOM cases that are policies: fills and sizes may not go together."""
    number = found = 0
    while found < RANDOM:
        text, height, width, *_ = case = random_case(number)
        number += 1
        try:
            parse(text, height, width)
        except DataError:
            continue
        found += 1
        yield pytest.param(*case, id=f"{number}")


@pytest.mark.parametrize(("text", "height", "width", "seed", "epoch"), list(random_cases()))
def test_random_policies_sizes_seeds_and_epochs(interpreted, text, height, width, seed, epoch):
    check(interpreted, text, images(5, height, width, seed % 1000), [4, 0, 2, 1], seed, epoch)


@pytest.mark.parametrize("text", ["trivial_wide(), crop(pad_px=4), flip()", "airbench", "cnn4", "sharpness(factor=3)",
                                  "blur(kernel_px=5, sigma=2), equalize()"])
def test_sides_that_are_odd_and_unequal(interpreted, text):
    check(interpreted, text, images(6, 17, 23), range(6))
    check(interpreted, text, images(6, 41, 27), range(6))


def test_where_an_image_is_too_large_for_the_chip_batched_torch_stands_in(interpreted):
    large = images(3, 65, 66)
    check(interpreted, "crop(pad_px=3), equalize(), invert(), flip(), cutout(hole_px=9)", large, [2, 0], kernels=3)
    check(interpreted, "equalize(), blur(kernel_px=3, sigma=1)", large, [2, 0], kernels=0)


def test_an_empty_batch_is_empty(interpreted):
    got, _ = interpreted("cnn4, resize(px=16)", CIFAR_SIZED, [])
    assert got.shape == (0, 16, 16, 3)


@pytest.mark.parametrize(("module", "name", "wrong", "text"), [
    ("draws", "GOLDEN", counter_rng.GOLDEN + 2, "baseline"),
    ("draws", "SECOND_MULTIPLIER", counter_rng.SECOND_MULTIPLIER - (1 << 63), "baseline"),
    ("photo", "NOISE_UNIT", 79952, "noise(sigma=.3)"),
    ("photo", "NOISE_MEAN", 1021, "noise(sigma=.3)"),
    ("filters", "FIRST_HALF", 0, "blur(kernel_px=3, sigma=1)"),
    ("filters", "SIGMA_STEPS", 63, "blur(kernel_px=3, sigma=(.2, 2))"),
    ("covers", "FILL_SLOT", 13, "cutout(hole_px=8, fill=noise)"),
    ("covers", "TRIES", 1, "erase(p=1, scale=(.5, 1), ratio=(.5, 2))"),
    ("warp", "HALF", 0, "affine(rotate_deg=9)"),
    ("homography", "DEGREE", 3.14159 / 180, "affine(rotate_deg=90)"),
])
def test_a_planted_wrong_constant_is_seen(interpreted, module, name, wrong, text):
    batch = images(24, 32, 32)
    right = on_host(text, batch, range(24))
    np.testing.assert_array_equal(interpreted(text, batch, range(24))[0], right)
    assert (interpreted(text, batch, range(24), planted=(module, name, wrong))[0] != right).any()
