"""Images for tests: flat bytes with pointers, as in a mapped file, and the two ways of augmenting them."""

import numpy as np

from loaders.common.counter_rng import epoch_state
from loaders.host.executor import Program, augment
from loaders.policy.policy import parse
from tests.loaders import reference

MEAN_RGB = (120, 110, 100)


def images(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 (count, height, width, 3): noise, slopes, flat colours and two-valued images by turns."""
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


def on_host(text: str, images_nhwc: np.ndarray, indices, seed: int = 3, epoch: int = 7, threads: int = 1,
            dtype=np.uint8, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)) -> np.ndarray:
    """The batch of `indices` by the host executor."""
    count, height, width, _ = images_nhwc.shape
    program = Program(parse(text, height, width), MEAN_RGB, mean, std)
    pointers = (np.arange(count) * height * width * 3).astype(np.uint64)
    indices = np.asarray(indices, np.int64)
    out = np.empty((len(indices), *program.out_shape), dtype)
    augment(images_nhwc.reshape(-1), pointers, indices, program, epoch_state(seed, epoch), out, threads)
    return out


def in_python(text: str, images_nhwc: np.ndarray, index: int, seed: int = 3, epoch: int = 7) -> np.ndarray:
    """One sample by the reference."""
    policy = parse(text, *images_nhwc.shape[1:3])
    return np.array(reference.augment(images_nhwc[index].tolist(), policy, seed, epoch, index, MEAN_RGB), np.uint8)
