"""The results of a run: the content of summary.json, and the rows of the closing table."""

from pathlib import Path

from engine.build.run import Run
from engine.common.environment import commit, hardware, versions
from engine.common.text import percent
from engine.storage.run_folder import without_folder
from engine.storage.weights_hash import weights_sha256
from engine.training.metrics import Result


def summarise(run: Run, history: list[dict], test: Result | None, compile_seconds: float | None,
              first_step_seconds: float | None) -> dict:
    """The summary as plain values; accuracies are shares of 1, None where a split does not exist.

    compile_seconds: what the first step took beyond a second one. first_step_seconds: from the start of the process
    to the end of the first step.
    """
    progress = run.loop.progress
    last, train_s = history[-1], progress.train_seconds
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
        "best_epoch": progress.best_epoch + 1 if progress.best_epoch >= 0 else None,
        "stopped": progress.stopped or None,
        "train_seconds": train_s,
        "epochs_per_second": progress.epoch / train_s,
        "images_per_second": progress.epoch * run.feeds.train.samples / train_s,
        "feed_wait_share": sum(row["feed_wait_s"] for row in history) / train_s,
        "compile_seconds": compile_seconds,
        "first_step_seconds": first_step_seconds,
        "device": str(run.device),
        "processes": run.process_group.ranks if run.process_group else 1,
        "precision": run.precision.name,
        "feed": run.feeds.kind,
        "step": run.step.mode,
        "seed": run.recipe.section("train").seed,
        "weights_sha256": weights_sha256(run.eval_model),
        "command": without_folder(run.recipe.command()),
        "versions": versions(),
        "hardware": hardware(run.device),
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
            ("epochs per second", f"{summary['epochs_per_second']:.4g}"),
            ("images per second", f"{summary['images_per_second']:,.0f}"),
            ("waited for data", percent(summary["feed_wait_share"])),
            ("weights", summary["weights_sha256"][:16]),
            ("run folder", str(folder))]
    if (folder / "report.html").exists():
        rows.append(("report", str(folder / "report.html")))
    if summary["stopped"]:
        rows.insert(2, ("stopped early", summary["stopped"]))
    return rows
