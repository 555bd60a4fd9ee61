"""The part of FFCV's file format, version 2, that this project writes: raw RGB images of one size, an integer label.

A file is: header, field descriptors, one metadata row per sample, zeros up to a page; pages of whole images; the
allocation table. Sample count and image size alone determine the layout, and images are in sample order, so equal data
gives equal bytes. (FFCV's own writer starts processes, can hang, and orders pages differently in each run.)
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

VERSION = 2
PAGE_BYTES = 1 << 23
FIELDS = (("image", 2), ("label", 1))
RAW_MODE = 1

HEADER = np.dtype([("version", "<u2"), ("num_fields", "<u2"), ("page_size", "<u4"), ("num_samples", "<u8"),
                   ("alloc_table_ptr", "<u8")], align=True)
FIELD = np.dtype([("type_id", "<u1"), ("name", ("<u1", 16)), ("arguments", ("<u1", (1024,)))], align=True)
ALLOCATION = np.dtype([("sample_id", "<u8"), ("ptr", "<u8"), ("size", "<u8")])
IMAGE = np.dtype([("mode", "<u1"), ("width", "<u2"), ("height", "<u2"), ("data_ptr", "<u8")])
SAMPLE = np.dtype([("", IMAGE), ("", "<i8")], align=True)

_SAMPLES_AT = HEADER.itemsize + len(FIELDS) * FIELD.itemsize


class Layout:
    """Offsets in a beton of `samples` images. images_per_page is 0 if an image is larger than a page: not writable."""

    def __init__(self, samples: int, height: int, width: int):
        self.samples, self.height, self.width = samples, height, width
        self.image_bytes = height * width * 3
        self.images_per_page = PAGE_BYTES // self.image_bytes
        self.pages_at = -(-(_SAMPLES_AT + samples * SAMPLE.itemsize) // PAGE_BYTES) * PAGE_BYTES
        self.table_at = self.pages_at + -(-samples // max(1, self.images_per_page)) * PAGE_BYTES
        self.file_bytes = self.table_at + samples * ALLOCATION.itemsize

    def pointers(self) -> np.ndarray:
        """uint64 (samples,): each image's byte offset in the file."""
        page, place = np.divmod(np.arange(self.samples, dtype=np.uint64), np.uint64(self.images_per_page))
        return np.uint64(self.pages_at) + page * np.uint64(PAGE_BYTES) + place * np.uint64(self.image_bytes)

    def header(self) -> np.ndarray:
        return np.array([(VERSION, len(FIELDS), PAGE_BYTES, self.samples, self.table_at)], HEADER)

    def fields(self) -> np.ndarray:
        described = np.zeros(len(FIELDS), FIELD)
        for row, (name, type_id) in zip(described, FIELDS, strict=True):
            row["type_id"] = type_id
            row["name"][:len(name)] = np.frombuffer(name.encode("ascii"), np.uint8)
        return described


def blocks(images_nhwc: np.ndarray, labels: np.ndarray) -> Iterator[tuple[int, bytes | memoryview]]:
    """The file's bytes in order, as (number of samples with pixels in the block, block); a page is one block.

    images_nhwc: uint8 (N, H, W, 3) with 0 < H * W * 3 <= PAGE_BYTES; labels: integers (N,).
    """
    layout = Layout(*images_nhwc.shape[:3])
    pointers = layout.pointers()
    table = np.zeros(layout.samples, SAMPLE)
    image, label = (table[name] for name in SAMPLE.names)
    image["mode"], image["width"], image["height"], image["data_ptr"] = RAW_MODE, layout.width, layout.height, pointers
    label[:] = labels
    head = layout.header().tobytes() + layout.fields().tobytes() + table.tobytes()
    yield 0, head + bytes(layout.pages_at - len(head))

    page = np.zeros(PAGE_BYTES, np.uint8)
    for start in range(0, layout.samples, layout.images_per_page):
        pixels = images_nhwc[start:start + layout.images_per_page].reshape(-1)
        page[:pixels.size] = pixels
        page[pixels.size:] = 0
        yield pixels.size // layout.image_bytes, page.data

    allocations = np.zeros(layout.samples, ALLOCATION)
    allocations["sample_id"], allocations["ptr"] = np.arange(layout.samples), pointers
    allocations["size"] = layout.image_bytes
    yield 0, allocations.tobytes()


def read_samples(path: Path, layout: Layout, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels int64 (N,) and pointers uint64 (N,) from the metadata of a file with this layout.

    Raises OSError, or ValueError naming what differs: size, header, fields, an image's offset or shape, a label outside
    0..classes-1. The checksum covers pixels and the allocation table.
    """
    with path.open("rb") as file:
        file_bytes = file.seek(0, 2)
        if file_bytes != layout.file_bytes:
            raise ValueError(f"it has {file_bytes} bytes where {layout.samples} images of {layout.height} x "
                             f"{layout.width} pixels take {layout.file_bytes}")
        file.seek(0)
        head = file.read(_SAMPLES_AT + layout.samples * SAMPLE.itemsize)
    if head[:HEADER.itemsize] != layout.header().tobytes():
        raise ValueError(f"its header is not that of {layout.samples} images")
    if head[HEADER.itemsize:_SAMPLES_AT] != layout.fields().tobytes():
        raise ValueError("its fields are not an image and a label")
    image, label = (np.frombuffer(head, SAMPLE, offset=_SAMPLES_AT)[name] for name in SAMPLE.names)
    if (image["height"] != layout.height).any() or (image["width"] != layout.width).any():
        raise ValueError(f"its images are not all {layout.height} x {layout.width} pixels")
    if (image["mode"] != RAW_MODE).any() or (image["data_ptr"] != layout.pointers()).any():
        raise ValueError("its images are not at the expected offsets")
    if label.min() < 0 or label.max() >= classes:
        raise ValueError(f"its labels run from {label.min()} to {label.max()}, allowed are 0 to {classes - 1}")
    return label.astype(np.int64), np.ascontiguousarray(image["data_ptr"])
