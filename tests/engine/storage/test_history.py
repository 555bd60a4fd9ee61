"""The history of a run: two files with the same rows, NaN and None told apart from numbers."""

import csv

import numpy as np

from engine.storage.history import read_history, write_history

ROWS = [{"epoch": 0, "train_loss": 1.5, "test_top1": None, "is_best": False},
        {"epoch": 1, "train_loss": float("nan"), "test_top1": 0.5, "is_best": True}]


def test_the_files_agree(tmp_path):
    write_history(tmp_path, ROWS)
    with (tmp_path / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    arrays = np.load(tmp_path / "metrics.npz")
    assert [row["test_top1"] for row in table] == ["", "0.5"] and table[1]["train_loss"] == "nan"
    assert np.isnan(arrays["test_top1"][0]) and arrays["test_top1"][1] == 0.5
    assert arrays["train_loss"][0] == 1.5 and np.isnan(arrays["train_loss"][1])
    first, second = read_history(tmp_path / "metrics.csv", [])
    assert first == ROWS[0] and np.isnan(second.pop("train_loss")) and second.items() <= ROWS[1].items()
