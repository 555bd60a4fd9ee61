"""The official CIFAR archives: their files, keys, sizes and checksums."""

from dataclasses import dataclass

from loaders.sources.base import CIFAR_PX

_PIXEL_BYTES = 3 * CIFAR_PX**2


@dataclass(frozen=True)
class Official:
    """Which files hold what: the rows of each file, and under which key its labels and their names stand."""

    folder: str
    archive: str
    archive_md5: str
    rows: dict[str, dict[str, int]]
    meta: str
    keys: dict[str, tuple[str, str]]

    @property
    def files(self) -> tuple[str, ...]:
        return (*(name for split in self.rows.values() for name in split), self.meta)

    def max_bytes(self, file: str) -> int:
        """A third more than the official file, which has names and labels besides the pixels; nothing is larger."""
        rows = next((split[file] for split in self.rows.values() if file in split), 0)
        return 65_536 + rows * _PIXEL_BYTES * 4 // 3


OFFICIAL = {
    "cifar10": Official(
        "cifar-10-batches-py", "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a",
        {"train": {f"data_batch_{part}": 10_000 for part in range(1, 6)}, "test": {"test_batch": 10_000}},
        "batches.meta", {"fine": ("labels", "label_names")}),
    "cifar100": Official(
        "cifar-100-python", "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85",
        {"train": {"train": 50_000}, "test": {"test": 10_000}},
        "meta", {"fine": ("fine_labels", "fine_label_names"), "coarse": ("coarse_labels", "coarse_label_names")}),
}
