"""The official CIFAR archives: their files, keys, sizes and checksums."""

from dataclasses import dataclass
from typing import NamedTuple

SIDE_PX = 32
PIXEL_BYTES = 3 * SIDE_PX**2


class Labels(NamedTuple):
    """The key of the labels in image files, the key of their names in the meta file, and the number of classes."""

    key: str
    names_key: str
    classes: int


@dataclass(frozen=True)
class Official:
    """The content of one archive. rows: split -> file -> its images; labels: "fine", "coarse" -> their keys."""

    folder: str
    archive: str
    archive_md5: str
    rows: dict[str, dict[str, int]]
    meta: str
    labels: dict[str, Labels]

    @property
    def files(self) -> tuple[str, ...]:
        return (*(name for split in self.rows.values() for name in split), self.meta)

    def max_bytes(self, file: str) -> int:
        """A third more than the pixels: the files also hold names and labels."""
        rows = next((split[file] for split in self.rows.values() if file in split), 0)
        return 65_536 + rows * PIXEL_BYTES * 4 // 3


OFFICIAL = {
    "cifar10": Official(
        "cifar-10-batches-py", "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a",
        {"train": {f"data_batch_{part}": 10_000 for part in range(1, 6)}, "test": {"test_batch": 10_000}},
        "batches.meta", {"fine": Labels("labels", "label_names", 10)}),
    "cifar100": Official(
        "cifar-100-python", "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85",
        {"train": {"train": 50_000}, "test": {"test": 10_000}},
        "meta", {"fine": Labels("fine_labels", "fine_label_names", 100),
                 "coarse": Labels("coarse_labels", "coarse_label_names", 20)}),
}
