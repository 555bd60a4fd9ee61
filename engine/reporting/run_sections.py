"""The report's sections on the run itself: result, command, curves, speed, augmentation, settings."""

from pathlib import Path

import numpy as np

from engine.build.feeds import mean_rgb
from engine.common.text import percent
from engine.inference.held_out import RunData
from engine.plots.bars import speed_spec
from engine.plots.curves import draw_curves, overview_spec
from engine.plots.figure import draw, write_png
from engine.plots.image_grids import Strip, strips_figure
from engine.reporting.html_page import Chart, Code, Note, Section, Strips, Table
from engine.reporting.panel_charts import chart
from engine.storage.run_record import Record
from engine.training.criterion import in_words
from engine.training.metrics import Result
from loaders.beton.cache import labels_of
from loaders.beton.images import read_images
from loaders.common import counter_rng
from loaders.host.executor import PackedPolicy, augment
from loaders.policy.policy import parse

SHEET_IMAGES, SHEET_EPOCHS = 8, 4
NONE = "-"


def number(value: float | None, pattern: str, unit: str = "") -> str:
    """A number formatted, with its unit."""
    return NONE if value is None else f"{value:{pattern}}{unit}"


def headline(record: Record, result: Result | None, split: str) -> Section:
    """The run's results, and what its folder lacks; result: the measurement on `split` for this page."""
    summary, history = record.summary, record.history
    last = history[-1] if history else {}
    model = summary.get("model") or record.settings.get("model.arch") or record.settings.get("model.name", "?")
    if summary.get("parameters"):
        model += f", {summary['parameters']:,} parameters"
    stopped = f", stopped early: {summary['stopped']}" if summary.get("stopped") else ""
    rows = [("data", record.settings.get("data.name", "?")), ("model", model),
            ("epochs", f"{len(history):,}{stopped}"), ("best epoch", best_epoch(record)),
            ("train top-1, last epoch", percent(last.get("train_top1"))),
            ("validation top-1, last epoch", percent(last.get("validation_top1"))),
            ("test top-1", percent(summary.get("test_top1"))), ("test top-5", percent(summary.get("test_top5"))),
            ("test loss", number(summary.get("test_loss"), ".4f"))]
    if result and summary.get("test_top1") is None:
        rows += [(f"{split} top-1, measured for this page", percent(result.top1)),
                 (f"{split} top-5, measured for this page", percent(result.top5))]
    if result:
        rows.append(("expected calibration error", percent(result.ece)))
    train_s = summary.get("train_seconds") or sum(row.get("train_s") or 0 for row in history) or None
    wall_s = summary.get("wall_seconds") or sum(row.get("wall_s") or 0 for row in history) or None
    rows += [("training time", number(train_s, ",.1f", " s")), ("wall time", number(wall_s, ",.1f", " s")),
             ("epochs per second", number(len(history) / train_s if train_s else None, ".4g")),
             ("images per second", number(summary.get("images_per_second"), ",.0f")),
             ("waited for data", percent(summary.get("feed_wait_share"))),
             ("precision, feed, step", ", ".join(str(summary.get(key) or "?") for key in ("precision", "feed", "step"))
              if summary else NONE),
             ("weights (SHA-256)", (summary.get("weights_sha256") or NONE)[:16])]
    return Section("result", "Result", [*map(Note, record.missing), Table(rows)])


def best_epoch(record: Record) -> str:
    """The epoch of best.pt, and the value that chose it; NONE where none was chosen."""
    name = record.settings.get("eval.best_by", "top1")
    chosen = [(row["epoch"] + 1, f"{split}_{name}", row[f"{split}_{name}"]) for row in record.history
              for split in ("validation", "test") if row.get("is_best") and row.get(f"{split}_{name}") is not None]
    return f"{chosen[-1][0]}, by {in_words(*chosen[-1][1:])}" if chosen else NONE


def command(record: Record) -> Section:
    """The command that runs it again."""
    return Section("command", "Run it again", [Code(record.command) if record.command else
                                               Note("The command is not recorded.")])


def curves(record: Record, plots: Path) -> Section:
    """The curves; redraws their PNGs only if they are older than the epochs."""
    if not record.history:
        return Section("curves", "Curves", [Note("No epoch has been recorded.")])
    overview, epochs = plots / "overview.png", record.folder / "metrics.csv"
    if not overview.exists() or overview.stat().st_mtime < epochs.stat().st_mtime:
        draw_curves(record.history, plots, record.title)
    parts: list = [Chart("curves_chart", chart(overview_spec(record.history)))]
    broken = [row["epoch"] + 1 for row in record.history
              if not np.isfinite([float(value) for value in row.values() if value is not None]).all()]
    if broken:
        parts.insert(0, Note(f"In {len(broken)} of {len(record.history)} epochs a value is not finite (first in epoch "
                             f"{broken[0]}): the curves break there."))
    return Section("curves", "Curves", parts, "Drag to zoom all four, double-click to zoom out.")


def speed(record: Record, plots: Path) -> Section:
    """Images per second, and the time spent waiting for data."""
    if not record.history:
        return Section("speed", "Speed", [Note("No epoch has been recorded.")])
    spec = speed_spec(record.history)
    write_png(draw(spec), plots / "speed.png")
    return Section("speed", "Speed", [Chart("speed_chart", chart(spec))])


def augmentation(data: RunData, plots: Path) -> Section:
    """Some training images under the run's policy in its first epochs: exactly the pixels that it trained on."""
    beton, recipe = data.betons["train"], data.recipe
    firsts = np.unique(labels_of(beton)[data.train], return_index=True)[1]
    firsts = data.train[firsts[np.linspace(0, len(firsts) - 1, min(SHEET_IMAGES, len(firsts))).astype(int)]]
    images_nhwc = read_images(beton, firsts)
    # Random draws depend on an image's position in the beton, so the images keep theirs.
    pointers = np.zeros(beton.samples, np.uint64)
    pointers[firsts] = np.arange(len(firsts), dtype=np.uint64) * np.uint64(images_nhwc[0].size)
    text, seed = recipe.section("augment").policy, recipe.section("train").seed
    program = PackedPolicy(parse(text, beton.height, beton.width), mean_rgb(recipe))
    strips = [Strip("unaugmented", list(images_nhwc))]
    for epoch in range(SHEET_EPOCHS):
        out = np.empty((len(firsts), *program.out_shape), np.uint8)
        augment(images_nhwc.reshape(-1), pointers, firsts, program, counter_rng.epoch_state(seed, epoch), out)
        strips.append(Strip(f"in epoch {epoch + 1}", list(out)))
    write_png(strips_figure(strips, f"Augmentation: {text}"), plots / "augmentation.png")
    return Section("augmentation", "Augmentation", [Strips(strips)], f"Policy {text}: training images as the training "
                   "step received them, before any resizing or mixing in the step.")


def settings(record: Record) -> Section:
    """Every setting of the run."""
    rows = [(path, value or '""') for path, value in record.settings.items()]
    return Section("settings", "Configuration", [Table(rows, ("setting", "value"))])


def environment(record: Record) -> Section:
    """Versions, hardware, commit and data."""
    rows = []
    for key, value in record.env.items():
        inner = {f"{key}: {name}": each for name, each in value.items()} if isinstance(value, dict) else {key: value}
        rows += [(name, " ".join(map(str, each)) if isinstance(each, list) else str(each))
                 for name, each in inner.items()]
    return Section("environment", "Environment", [Table(rows) if rows else Note("env.json is missing.")])
