"""Trackers: where an epoch's numbers go besides the run folder's own files."""

from pathlib import Path
from typing import Protocol

from engine.errors import EngineError


class Tracker(Protocol):
    """What a tracker can do; `row` holds one epoch's plain values, None where there is none."""

    def epoch(self, row: dict) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """TensorBoard events in <run folder>/tensorboard; needs the extra `tensorboard`."""

    def __init__(self, folder: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise EngineError("log.to=tensorboard needs the tensorboard package: "
                              "pip install 'cadence-train[tensorboard]'") from None
        self.writer = SummaryWriter(folder / "tensorboard")

    def epoch(self, row: dict) -> None:
        """One scalar a column, grouped as loss/train, top1/validation and so on; x is the epochs done."""
        for name, value in row.items():
            if value is not None and name not in ("epoch", "is_best"):
                split, _, measure = name.partition("_")
                tag = f"{measure}/{split}" if measure in ("loss", "top1") else name
                self.writer.add_scalar(tag, value, row["epoch"] + 1)

    def close(self) -> None:
        """Write what is still in memory."""
        self.writer.close()


def open_trackers(to: str, folder: Path) -> list[Tracker]:
    """The trackers that `log.to` names: none for "files"."""
    return [TensorBoard(folder)] if to == "tensorboard" else []
