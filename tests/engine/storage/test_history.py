"""The record of epochs: three files that say the same, with NaN and None told apart from numbers."""

import csv
import json

import numpy as np

from engine.storage.history import write_history

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
    lines = [json.loads(line, parse_constant=lambda name: 1 / 0) for line in
             (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[1]["train_loss"] is None and lines[0]["test_top1"] is None
