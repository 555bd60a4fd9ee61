"""The history of a run, one row per epoch: metrics.csv and metrics.npz, each always whole."""

import csv
import io
from pathlib import Path

import numpy as np

from engine.common.files import write_atomic

# What is recorded for each epoch.
COLUMNS = ("epoch", "lr", "train_loss", "train_top1", "validation_loss", "validation_top1", "test_loss", "test_top1",
           "train_s", "feed_wait_s", "images_per_s", "is_best")


def write_history(folder: Path, history: list[dict]) -> None:
    """Write both files from `history`, one dict of plain values per epoch; None is an empty cell, or NaN in the arrays.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomic(folder / "metrics.csv", text.getvalue().encode())
    arrays = {key: np.array([np.nan if row[key] is None else row[key] for row in history]) for key in history[0]}
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    write_atomic(folder / "metrics.npz", packed.getvalue())
