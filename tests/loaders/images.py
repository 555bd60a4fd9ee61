"""Images for tests, and how the host executor and the reference augment them."""

import numpy as np

from loaders.common.counter_rng import epoch_state
from loaders.host.executor import PackedPolicy, augment
from loaders.policy.policy import parse
from tests.loaders import reference

MEAN_RGB = (120, 110, 100)
# Every operation, its fills and ranges, and combinations.
EACH = [
    "none",
    "crop(pad_px=3)", "crop(pad_px=11, fill=mean)", "crop(pad_px=5, fill=reflect)",
    "flip()", "flip(p=1)", "flip_alternate()",
    "crop(pad_px=2), flip(), crop(pad_px=4), flip(p=1), crop(pad_px=11)",
    "crop(pad_px=9, fill=reflect), flip(), crop(pad_px=9, fill=reflect)",
    "affine(rotate_deg=180)", "affine(translate=.4, fill=mean)", "affine(translate=(0, .1))", "affine(scale=(.3, 3))",
    "affine(shear_deg=40, rotate_deg=20, scale=(.8, 1.3), fill=reflect)", "perspective(p=1)",
    "perspective(p=1, distortion=.6, fill=mean)", "perspective(p=1, fill=reflect), affine(scale=.2, fill=reflect)",
    "crop(pad_px=3), maybe(.5, affine(rotate_deg=30)), flip(), perspective()",
    "resize(px=16)", "resize(px=17), flip(p=1)", "resize(px=40), crop(pad_px=9), affine(rotate_deg=20, shear_deg=9)",
    "crop(pad_px=3), resize(px=40), perspective(p=1)", "resize(px=5)", "resize(px=13), crop(pad_px=3), gray(p=.5)",
    "jitter(brightness=1)", "jitter(contrast=1)", "jitter(saturation=1)", "jitter(hue=.5)",
    "jitter(brightness=(0, 10))",
    "jitter(contrast=(0, 10))", "jitter(saturation=(0, 10))",
    "jitter(brightness=.4, contrast=.4, saturation=.4, hue=.1)", "gray(p=.5)", "blur(kernel_px=3, sigma=(.2, 2))",
    "blur(kernel_px=23, sigma=(3, 20))", "noise(sigma=(.01, .3))", "invert()", "solarize(threshold=(0, 256))",
    "posterize(bits=1)", "posterize(bits=8)", "equalize()", "autocontrast()", "sharpness(factor=(0, 4))",
    "cutout(hole_px=5)", "cutout(hole_px=12, fill=mean)", "cutout(hole_px=7, fill=noise)", "erase(p=1)",
    "erase(scale=(0, 1), ratio=(.01, 100), fill=zero)", "erase(p=1, scale=(.3, .9), fill=noise)",
    "coarse_dropout(hole_px=(1, 12), holes=(1, 7))", "coarse_dropout(hole_px=4, holes=2, fill=noise)",
    "trivial_wide()", "trivial_wide(fill=mean), trivial_wide(fill=reflect)", "rand_augment(n=7, magnitude=30)",
    "cutout(hole_px=4), crop(pad_px=3), cutout(hole_px=5, fill=mean), invert(), flip(), cutout(hole_px=3, fill=noise)",
    "gray(p=.5), crop(pad_px=3), jitter(hue=.2), flip(), blur(kernel_px=5, sigma=1), affine(rotate_deg=9)",
    "one_of(.8, flip(p=1), invert(), cutout(hole_px=6), maybe(.5, equalize(), crop(pad_px=2)))",
]


def images(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 (count, height, width, 3): noise, slopes, flat colours and two-valued images in turn."""
    generator = np.random.default_rng(seed)
    out = generator.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    for k in range(count):
        if k % 4 == 1:
            slope = np.add.outer(np.arange(height) * (k % 5), np.arange(width) * 3)[..., None] * [1.0, 0.5, 0.25]
            out[k] = np.clip(slope + 10 * k, 0, 255)
        elif k % 4 == 2:
            out[k] = generator.integers(0, 256, 3)
        elif k % 4 == 3:
            out[k] = np.where(out[k] < 128, 7, 250)
    return out


def on_host(text: str, images_nhwc: np.ndarray, indices, seed: int = 3, epoch: int = 7, threads: int = 1) -> np.ndarray:
    """The batch of `indices` by the host executor."""
    count, height, width, _ = images_nhwc.shape
    policy = PackedPolicy(parse(text, height, width), MEAN_RGB)
    pointers = (np.arange(count) * height * width * 3).astype(np.uint64)
    indices = np.asarray(indices, np.int64)
    out = np.empty((len(indices), *policy.out_shape), np.uint8)
    augment(images_nhwc.reshape(-1), pointers, indices, policy, epoch_state(seed, epoch), out, threads)
    return out


def in_python(text: str, images_nhwc: np.ndarray, index: int, seed: int = 3, epoch: int = 7) -> np.ndarray:
    """One sample by the reference."""
    policy = parse(text, *images_nhwc.shape[1:3])
    return np.array(reference.augment(images_nhwc[index].tolist(), policy, seed, epoch, index, MEAN_RGB), np.uint8)


SMALL = images(24, 12, 16)
CIFAR_SIZED = images(16, 32, 32)
