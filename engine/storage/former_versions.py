"""Checkpoints of former versions, in the form of this one."""

import math

from engine.storage.history import COLUMNS

# Columns that former versions did not record.
NEW_COLUMNS = {"validation_top5", "validation_ece", "test_top5", "test_ece", "wall_s"}


def up_to_date(content: dict) -> dict:
    """A checkpoint's content, which has all entries and is not checked further yet, as this version writes it.

    Former versions chose the best epoch by top-1 and let patience look at the loss. Where there was patience the loss
    is the run's criterion now (`load.restore` says so too), because it decides the weights. How long the run took by
    the clock is not known, an unfinished epoch has not waited for data yet, and compiling was not counted apart.
    """
    history, progress = content["history"], content["progress"]
    if isinstance(history, list) and all(isinstance(row, dict) and set(row) == set(COLUMNS) - NEW_COLUMNS
                                         for row in history):
        content = {**content, "history": [{name: row.get(name) for name in COLUMNS} for row in history]}
    if isinstance(progress, dict) and "wall_seconds" not in progress \
            and all(isinstance(progress.get(name), float) for name in ("best_top1", "best_loss")):
        progress = with_one_criterion(progress, content["values"], content["history"])
    if isinstance(progress, dict):
        progress = {"compile_seconds": 0.0, **progress}
    return {**content, "progress": progress}


def with_one_criterion(progress: dict, values: object, history: object) -> dict:
    """The progress of a former version; a run with patience goes on by the loss, another by top-1."""
    kept = {name: value for name, value in progress.items() if name not in ("best_top1", "best_loss")}
    patience = values.get("train.patience") if isinstance(values, dict) else 0
    if isinstance(patience, int) and patience > 0:
        # That of best.pt, which may not be the lowest.
        rows = [row for row in history if isinstance(row, dict)] if isinstance(history, list) else []
        losses = [row.get(f"{split}_loss") for row in rows for split in ("validation", "test")
                  if row.get("epoch") == progress.get("best_epoch")]
        best = next((loss for loss in losses if isinstance(loss, float)), math.nan)
        reached = progress["best_loss"] if math.isfinite(progress["best_loss"]) else math.nan
    else:
        best = reached = progress["best_top1"] if progress["best_top1"] >= 0 else math.nan
        kept["epochs_without_gain"] = 0
    return kept | {"best_value": best, "patience_value": reached, "wall_seconds": math.nan, "epoch_wait_seconds": 0.0}
