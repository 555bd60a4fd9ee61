"""The history of a run, one row per epoch: metrics.csv and metrics.npz, each always whole."""

import csv
import io
from pathlib import Path

import numpy as np

from engine.common.files import write_atomic

FILES = ("metrics.csv", "metrics.npz")
# What is recorded for each epoch.
COLUMNS = ("epoch", "lr", "train_loss", "train_top1", "validation_loss", "validation_top1", "validation_top5",
           "validation_ece", "test_loss", "test_top1", "test_top5", "test_ece", "train_s", "wall_s", "feed_wait_s",
           "images_per_s", "is_best")


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


def read_history(path: Path, missing: list[str]) -> list[dict]:
    """The rows of metrics.csv: None where nothing was measured, NaN and infinities as they were; [] without the file.

    Where it is damaged a sentence is added to `missing`.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{key: value_of(text) for key, text in row.items()} for row in csv.DictReader(file)]
        return [{**row, "epoch": int(row["epoch"])} for row in rows]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError, csv.Error) as error:
        missing.append(f"metrics.csv cannot be read ({type(error).__name__}).")
        return []


def value_of(text: str) -> float | bool | None:
    """A cell of metrics.csv."""
    return {"": None, "True": True, "False": False}[text] if text in ("", "True", "False") else float(text)
