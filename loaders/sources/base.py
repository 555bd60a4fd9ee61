"""What a source of images is, whatever it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


CIFAR_TRAIN, CIFAR_TEST, CIFAR_PX = 50_000, 10_000, 32


# Fine and coarse class counts.
CIFAR_CLASSES = {"cifar10": {"fine": 10}, "cifar100": {"fine": 100, "coarse": 20}}


@dataclass(frozen=True)
class Split:
    """One split. images_nhwc: uint8 (N, H, W, 3), RGB; labels: int64 (N,), 0 to classes - 1."""

    images_nhwc: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set before it is there: images per split, classes, side in pixels."""

    train: int
    test: int
    classes: int
    resolution: int


@dataclass(frozen=True)
class Source:
    """An opened data set. fingerprint: SHA-256 (hex) over the raw content of all splits and every setting that changes
    a pixel or a label; read(split) → Split raises DataError where the content is bad or no longer the fingerprint's.
    """

    name: str
    class_names: tuple[str, ...]
    resolution: int
    fingerprint: str
    splits: tuple[str, ...]
    read: Callable[[str], Split]
