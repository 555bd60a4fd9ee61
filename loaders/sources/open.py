"""Opens a source of images by name: uint8 images, labels and class names, split by split.

Opening a source hashes files and reads class names; `read` reads the images.
"""

from __future__ import annotations

import os
from pathlib import Path

from loaders.common.errors import DataError
from loaders.sources.base import DatasetInfo, Source
from loaders.sources.cifar_layout import OFFICIAL, SIDE_PX

NAMES = (*OFFICIAL, "folder", "shapes")


def dataset_info(name: str, labels: str = "fine", classes: int = 10, resolution: int = 32, train_count: int = 10_000,
                 test_count: int = 2_000) -> DatasetInfo | None:
    """The size of the data set, without reading it (None for class folders); DataError for refused settings."""
    if name not in NAMES:
        raise DataError(f"data.name={name} is not a data set; choose one of {', '.join(NAMES)}")
    if name == "folder":
        if resolution < 1:
            raise DataError(f"data.resolution={resolution} must be at least 1 pixel")
        return None
    if name == "shapes":
        if not 10 <= classes <= 100:
            raise DataError(f"data.classes={classes}: shapes come in 10 to 100 classes")
        if not 8 <= resolution <= 1024:
            raise DataError(f"data.resolution={resolution}: shapes are drawn at 8 to 1024 pixels a side")
        for split, count in (("train", train_count), ("test", test_count)):
            if count < classes:
                raise DataError(f"data.{split}_count={count} must be at least data.classes={classes}, one image per "
                                "class")
        return DatasetInfo(train_count, test_count, classes)
    official = OFFICIAL[name]
    if labels not in official.labels:
        raise DataError(f"data.labels={labels} is not known for {name}; choose {' or '.join(official.labels)}")
    if resolution != SIDE_PX:
        raise DataError(f"data.resolution={resolution} does not apply: {name}'s images have {SIDE_PX} pixels a side; "
                        f"leave it at {SIDE_PX}")
    train, test = (sum(official.rows[split].values()) for split in ("train", "test"))
    return DatasetInfo(train, test, official.labels[labels].classes)


def open_source(name: str, *, root: str | Path | None = None, labels: str = "fine", download: bool = False,
                resolution: int = 32, float_max: int | None = None, classes: int = 10, train_count: int = 10_000,
                test_count: int = 2_000, seed: int = 0) -> Source:
    """Open cifar10, cifar100, folder or shapes; raises DataError (one line) if it cannot be read.

    root: for CIFAR the folder with `cifar-10-batches-py` or `cifar-100-python`, or that folder itself; for class
    folders the one with `train/<class>/*` and optionally `val/<class>/*` and `test/<class>/*`. labels: "fine", or
    "coarse" for CIFAR-100's 20 superclasses. download: fetch CIFAR if it is absent. resolution: side in pixels of
    class-folder images and shapes; CIFAR has 32. float_max: white of floating-point images in class folders, 1 or 255;
    None: as all of them tell. classes, train_count, test_count, seed: of shapes.
    """
    dataset_info(name, labels, classes, resolution, train_count, test_count)
    if name == "shapes":
        from loaders.sources.shapes import open_shapes

        return open_shapes(classes, resolution, train_count, test_count, seed)
    if root is None:
        raise DataError(f"data.root is not set, and {name} needs it: --data.root=DIR")
    root = Path(os.path.expanduser(root))
    if name == "folder":
        from loaders.sources.class_folders import open_folder

        return open_folder(root, resolution, float_max)
    from loaders.sources.cifar import open_cifar

    return open_cifar(name, root, labels, download)
