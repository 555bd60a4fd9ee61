"""Loaders of augmented images to compare, each as a peer: (images per pass, a function that runs one pass).

All use the same images, batch size and policy: flip, shift by up to 4 px, a square hole of 8 px; normalised ones give
float32 with the same mean and std.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

from engine.common.optional import is_installed
from engine.training.forward import ToInput
from loaders.beton.cache import Beton, pointers_of
from loaders.common import counter_rng
from loaders.feeds.ffcv_fixes import import_ffcv
from loaders.feeds.resident import Resident
from loaders.feeds.stream import Stream
from loaders.host.executor import PackedPolicy, augment
from loaders.policy.policy import parse

POLICY = "flip(), crop(pad_px=4), cutout(hole_px=8)"
MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
# Images per pass of the slow peers: seconds, not minutes.
SLOW_IMAGES = 2_000

Peer = tuple[int, Callable[[], object]]


def memcpy(images_nhwc: np.ndarray, batch: int) -> Peer:
    """Copy the pixels, batch by batch, into one buffer: the bound of a loader on one thread."""
    target = np.empty((batch, *images_nhwc.shape[1:]), np.uint8)

    def run():
        for start in range(0, len(images_nhwc) - batch + 1, batch):
            np.copyto(target, images_nhwc[start: start + batch])

    return len(images_nhwc) // batch * batch, run


def ffcv_stock(beton: Beton, batch: int, threads: int, operations: str) -> Peer:
    """FFCV's own Loader and operations: "decode", "augment" (uint8) or "normalise" (augment, then float32)."""
    loader_class, _, _ = import_ffcv()
    from ffcv.fields.rgb_image import SimpleRGBImageDecoder
    from ffcv.loader import OrderOption
    from ffcv.transforms import Cutout, NormalizeImage, RandomHorizontalFlip, RandomTranslate

    pipeline = [SimpleRGBImageDecoder()]
    if operations != "decode":
        pipeline += [RandomHorizontalFlip(), RandomTranslate(4), Cutout(8)]
    if operations == "normalise":
        pipeline.append(NormalizeImage(255 * np.array(MEAN), 255 * np.array(STD), np.float32))
    loader = loader_class(str(beton.path), batch, num_workers=threads, order=OrderOption.RANDOM, drop_last=True,
                          pipelines={"image": pipeline, "label": None})
    return len(loader) * batch, lambda: [None for _ in loader]


def cadence_stream(beton: Beton, batch: int, threads: int, policy: str, dtype: str = "uint8",
                   images: int | None = None) -> Peer:
    """This project's stream feed: FFCV's Loader around the compiled pass, over `images` images (None: all)."""
    indices = np.arange(images or beton.samples)
    feed = Stream(beton, indices, batch, parse(policy, beton.height, beton.width), shuffle=True, threads=threads)
    to_input = ToInput(MEAN, STD, torch.device("cpu"))
    return len(indices), lambda: read_epoch(feed, to_input if dtype == "float32" else None)


def read_epoch(feed: Stream | Resident, to_input: ToInput | None) -> None:
    """Read an epoch, each batch normalised by `to_input` as the engine does it."""
    with feed.epoch(0) as batches:
        for batch in batches:
            if to_input:
                to_input(batch.images_bhwc)


def cadence_kernel(beton: Beton, batch: int, threads: int, policy: str) -> Peer:
    """The compiled pass alone, batch by batch on the mapped file: the stream without FFCV's Loader."""
    program = PackedPolicy(parse(policy, beton.height, beton.width), (129, 124, 112))
    source, pointers, indices = np.memmap(beton.path, mode="r"), pointers_of(beton), np.arange(beton.samples)
    order, state = counter_rng.order(0, 0, indices), counter_rng.epoch_state(0, 0)
    target = np.empty((batch, *program.out_shape), np.uint8)

    def run():
        for start in range(0, len(order) - batch + 1, batch):
            augment(source, pointers, order[start: start + batch], program, state, target, threads=threads)

    return len(order) // batch * batch, run


def cadence_resident(beton: Beton, batch: int, policy: str, dtype: torch.dtype) -> Peer:
    """This project's resident feed on the GPU, or a few of its batches on the CPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parsed = parse(policy, beton.height, beton.width)
    images = beton.samples if device.type == "cuda" else 4 * batch
    feed = Resident(beton, np.arange(images), batch, parsed, shuffle=True, device=device, mean_rgb=(129, 124, 112))
    to_input = ToInput(MEAN, STD, device)

    def run():
        read_epoch(feed, to_input if dtype is torch.float32 else None)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return images, run


def torchvision_loader(images_nhwc: np.ndarray, batch: int, workers: int) -> Peer:
    """torchvision's v2 transforms on tensors under torch's DataLoader, as its documentation shows."""
    transform = v2.Compose([
        v2.RandomHorizontalFlip(), v2.RandomCrop(images_nhwc.shape[1], padding=4),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD),
        v2.RandomErasing(p=1.0, scale=(0.0625, 0.0625), ratio=(1.0, 1.0)),
    ])
    return data_loader([torch.from_numpy(image).permute(2, 0, 1) for image in images_nhwc[:SLOW_IMAGES]], transform,
                       batch, workers)


def seed_at_224(images_nhwc: np.ndarray, batch: int, workers: int) -> Peer:
    """The ResNet-50 seed's own pipeline: PIL images, torchvision at 224 px, normalised, under a DataLoader."""
    transform = v1.Compose([
        v1.Resize(224), v1.ColorJitter(0.3, 0.3, 0.3, 0.1), v1.RandomGrayscale(0.2), v1.RandomHorizontalFlip(),
        v1.RandomRotation(15), v1.RandomAffine(15, translate=(0.1, 0.1)), v1.RandomPerspective(0.5, p=0.2),
        v1.GaussianBlur(3, (0.1, 0.2)), v1.ToTensor(), v1.Normalize(MEAN, STD), v1.RandomErasing(0.3, (0.05, 0.2)),
    ])
    return data_loader([Image.fromarray(image) for image in images_nhwc[:SLOW_IMAGES // 10]], transform, batch, workers)


def albumentations_loader(images_nhwc: np.ndarray, batch: int, workers: int) -> Peer | None:
    """Albumentations under torch's DataLoader; None where it is not installed."""
    if not is_installed("albumentations"):
        return None
    import albumentations as a

    side_px = images_nhwc.shape[1]
    transform = a.Compose([
        a.HorizontalFlip(), a.PadIfNeeded(side_px + 8, side_px + 8), a.RandomCrop(side_px, side_px),
        a.CoarseDropout(num_holes_range=(1, 1), hole_height_range=(8, 8), hole_width_range=(8, 8), p=1.0),
        a.Normalize(MEAN, STD),
    ])
    return data_loader(list(images_nhwc[:SLOW_IMAGES]), lambda image: transform(image=image)["image"], batch, workers)


def data_loader(images: list, transform: Callable, batch: int, workers: int) -> Peer:
    """torch's DataLoader over images in memory, with persistent workers."""
    loader = torch.utils.data.DataLoader(Mapped(images, transform), batch, shuffle=True, num_workers=workers,
                                         persistent_workers=workers > 0)
    return len(images), lambda: [None for _ in loader]


class Mapped(torch.utils.data.Dataset):
    """Images in memory, transformed when read."""

    def __init__(self, images: list, transform: Callable):
        self.images, self.transform = images, transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(self.images[index])
