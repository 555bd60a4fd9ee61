"""The results of a run: the content of summary.json, and the rows of the closing table."""

import math
from dataclasses import asdict
from pathlib import Path

from engine.build.run import Run
from engine.common.environment import commit, hardware, versions
from engine.common.text import percent
from engine.kernels.fused_norm import fused_in
from engine.storage.history import COLUMNS
from engine.storage.run_folder import without_folder
from engine.storage.weights_hash import weights_sha256
from engine.training.criterion import in_words
from engine.training.loop import EpochRecord
from engine.training.metrics import Result


def history_row(record: EpochRecord, split: str, watched: Result | None, wall_s: float) -> dict:
    """An epoch in the columns of the history. watched: what was measured on `split`; wall_s: by the clock, from the end
    of the epoch before (NaN: not known).
    """
    row = asdict(record) | {"wall_s": None if math.isnan(wall_s) else wall_s}
    if watched:
        row |= {f"{split}_{name}": getattr(watched, name) for name in ("loss", "top1", "top5", "ece")}
    return {name: row.get(name) for name in COLUMNS}


def summarise(run: Run, history: list[dict], test: Result | None, wall_seconds: float,
              first_step_seconds: float | None, load: dict[str, float] | None) -> dict:
    """The summary as plain values; accuracies are shares of 1, None where a split does not exist.

    best_by, best_epoch, best_value: what chose best.pt, which epoch (from 1), its value there; None where nothing did.
    train_seconds: of training steps and waiting for data, without compile_seconds: what the first two steps of each
    program took beyond its third. wall_seconds: by the clock, all included, NaN where it is not known.
    first_step_seconds: from the start of the process to the end of the first step. load: of the machine in this
    session, None for one of several processes.
    """
    progress, criterion = run.loop.progress, run.loop.criterion
    chosen = progress.best_epoch >= 0
    # The last epoch may be a part of one.
    last, train_s, passes = history[-1], progress.train_seconds, min(progress.epoch, run.recipe.epochs)
    return {
        "recipe": run.recipe.name,
        "dataset": run.recipe.section("data").name,
        "model": run.recipe.get("model.arch", run.recipe.section("model").name),
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "epochs": progress.epoch,
        "steps": progress.steps_done,
        "train_top1": last["train_top1"],
        "val_top1": last["validation_top1"],
        "test_top1": test.top1 if test else None,
        "test_top5": test.top5 if test else None,
        "test_loss": test.loss if test else None,
        "best_by": f"{run.watched}_{criterion.name}" if chosen else None,
        "best_epoch": progress.best_epoch + 1 if chosen else None,
        "best_value": progress.best_value if chosen else None,
        "stopped": progress.stopped or None,
        "train_seconds": train_s,
        "wall_seconds": None if math.isnan(wall_seconds) else wall_seconds,
        "epochs_per_second": passes / train_s,
        "images_per_second": passes * run.feeds.train.samples / train_s,
        "feed_wait_share": sum(row["feed_wait_s"] for row in history) / train_s,
        "compile_seconds": progress.compile_seconds,
        "first_step_seconds": first_step_seconds,
        "device": str(run.device),
        "processes": run.process_group.ranks if run.process_group else 1,
        "precision": run.precision.name,
        "feed": run.feeds.kind,
        "step": run.step.mode,
        "norms": "fused" if fused_in(run.model) else "torch",
        "seed": run.recipe.section("train").seed,
        "weights_sha256": weights_sha256(run.eval_model),
        "command": without_folder(run.recipe.command()),
        "versions": versions(),
        "hardware": hardware(run.device),
        "load": load,
        "commit": commit(),
    }


def closing_rows(summary: dict, folder: Path) -> list[tuple[str, str]]:
    """(name, value) in the order of the closing table."""
    rows = [("model", f"{summary['model']}, {summary['parameters']:,} parameters"),
            ("epochs, steps", f"{summary['epochs']:,}, {summary['steps']:,}"),
            ("train top-1", percent(summary["train_top1"])),
            ("validation top-1", percent(summary["val_top1"])),
            ("test top-1", percent(summary["test_top1"])),
            ("test top-5", percent(summary["test_top5"])),
            ("training time", f"{summary['train_seconds']:,.1f} s"),
            ("wall time", "-" if summary["wall_seconds"] is None else f"{summary['wall_seconds']:,.1f} s"),
            ("epochs per second", f"{summary['epochs_per_second']:.4g}"),
            ("images per second", f"{summary['images_per_second']:,.0f}"),
            ("waited for data", percent(summary["feed_wait_share"])),
            ("weights", summary["weights_sha256"][:16]),
            ("run folder", str(folder))]
    if (folder / "report.html").exists():
        rows.append(("report", str(folder / "report.html")))
    if summary["compile_seconds"] >= 1:
        rows.insert(7, ("compiling, besides", f"{summary['compile_seconds']:,.1f} s"))
    if summary["best_epoch"]:
        by = in_words(summary["best_by"], summary["best_value"])
        rows.insert(2, ("best epoch", f"{summary['best_epoch']}, by {by}"))
    if summary["stopped"]:
        rows.insert(2, ("stopped early", summary["stopped"]))
    return rows
