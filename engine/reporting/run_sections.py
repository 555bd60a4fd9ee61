"""The report's chapters that tell of the run itself: result, command, curves, speed, augmentation, settings."""

from pathlib import Path

import numpy as np

from engine.build.feeds import mean_rgb
from engine.inference.held_out import RunData
from engine.plots import bars
from engine.plots.curves import draw_curves
from engine.plots.figure import write_png
from engine.plots.image_grids import Strip, strips_figure
from engine.reporting import charts
from engine.reporting.html_page import Chart, Code, Note, Section, Strips, Table
from engine.storage.run_record import Record
from engine.training.metrics import Result
from loaders.beton.cache import labels_of
from loaders.beton.images import read_images
from loaders.common import counter_rng
from loaders.host.executor import PackedPolicy, augment
from loaders.policy.policy import parse

SHEET_IMAGES, SHEET_EPOCHS = 8, 4
NONE = "-"


def percent(share: float | None) -> str:
    """A share of 1 as percent."""
    return NONE if share is None else f"{share:.2%}"


def number(value: float | None, pattern: str, unit: str = "") -> str:
    """A number formatted, with its unit."""
    return NONE if value is None else f"{value:{pattern}}{unit}"


def headline(record: Record, result: Result | None, split: str) -> Section:
    """What the run came to, and what its folder lacks; `result` and `split`: what was measured for this page."""
    summary, history = record.summary, record.history
    last = history[-1] if history else {}
    model = summary.get("model") or record.settings.get("model.arch") or record.settings.get("model.name", "?")
    if summary.get("parameters"):
        model += f", {summary['parameters']:,} parameters"
    stopped = f", stopped early: {summary['stopped']}" if summary.get("stopped") else ""
    rows = [("data", record.settings.get("data.name", "?")), ("model", model),
            ("epochs", f"{len(history):,}{stopped}"),
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
    rows += [("training time", number(train_s, ",.1f", " s")),
             ("epochs per second", number(len(history) / train_s if train_s else None, ".4g")),
             ("images per second", number(summary.get("images_per_second"), ",.0f")),
             ("waited for data", percent(summary.get("feed_wait_share"))),
             ("precision, feed, step", ", ".join(str(summary.get(key) or "?") for key in ("precision", "feed", "step"))
              if summary else NONE),
             ("weights (SHA-256)", (summary.get("weights_sha256") or NONE)[:16])]
    return Section("result", "Result", [*map(Note, record.missing), Table(rows)])


def command(record: Record) -> Section:
    """How to run it again."""
    return Section("command", "Run it again", [Code(record.command) if record.command else
                                               Note("The command is not recorded.")])


def curves(record: Record, plots: Path) -> Section:
    """The curves; their pictures are drawn where they are older than the epochs they show."""
    if not record.history:
        return Section("curves", "Curves", [Note("No epoch has been recorded.")])
    picture, epochs = plots / "overview.png", record.folder / "metrics.csv"
    if not picture.exists() or picture.stat().st_mtime < epochs.stat().st_mtime:
        draw_curves(record.history, plots, record.title)
    parts: list = [Chart("curves_chart", charts.curves_chart(record.history))]
    broken = broken_epochs(record.history)
    if broken:
        parts.insert(0, Note(f"In {len(broken)} of {len(record.history)} epochs a value is not finite (first in epoch "
                             f"{broken[0]}): the curves break there."))
    return Section("curves", "Curves", parts, "Drag to zoom, which zooms all four; double-click to zoom out.")


def broken_epochs(history: list[dict]) -> list[int]:
    """The epochs, from 1, that hold a value that is not finite."""
    return [row["epoch"] + 1 for row in history
            if not np.isfinite([float(value) for value in row.values() if value is not None]).all()]


def speed(record: Record, plots: Path) -> Section:
    """Images a second, and what data cost."""
    if not record.history:
        return Section("speed", "Speed", [Note("No epoch has been recorded.")])
    write_png(bars.speed_figure(record.history), plots / "speed.png")
    return Section("speed", "Speed", [Chart("speed_chart", charts.speed_chart(record.history))])


def augmentation(data: RunData, plots: Path) -> Section:
    """What the run's policy made of some training images in its first epochs: the very pixels that it trained on."""
    beton, recipe = data.betons["train"], data.recipe
    firsts = np.unique(labels_of(beton)[data.train], return_index=True)[1]
    firsts = data.train[firsts[np.linspace(0, len(firsts) - 1, min(SHEET_IMAGES, len(firsts))).astype(int)]]
    images_nhwc = read_images(beton, firsts)
    # The draws depend on an image's position in the beton, so the few that are read keep theirs.
    pointers = np.zeros(beton.samples, np.uint64)
    pointers[firsts] = np.arange(len(firsts), dtype=np.uint64) * np.uint64(images_nhwc[0].size)
    text, seed = recipe.section("augment").policy, recipe.section("train").seed
    program = PackedPolicy(parse(text, beton.height, beton.width), mean_rgb(recipe))
    strips = [Strip("as they are", list(images_nhwc))]
    for epoch in range(SHEET_EPOCHS):
        out = np.empty((len(firsts), *program.out_shape), np.uint8)
        augment(images_nhwc.reshape(-1), pointers, firsts, program, counter_rng.epoch_state(seed, epoch), out)
        strips.append(Strip(f"in epoch {epoch + 1}", list(out)))
    write_png(strips_figure(strips, f"Augmentation: {text}"), plots / "augmentation.png")
    return Section("augmentation", "Augmentation", [Strips(strips)], f"Policy {text}: training images as the network "
                   "was given them, before the step resizes or mixes them where the run says so.")


def settings(record: Record) -> Section:
    """Every setting of the run."""
    rows = [(path, value or '""') for path, value in record.settings.items()]
    return Section("settings", "Configuration", [Table(rows, ("setting", "value"))])


def environment(record: Record) -> Section:
    """Versions, hardware, commit and data."""
    rows: list[tuple[str, str]] = []
    for key, value in record.env.items():
        if isinstance(value, dict):
            rows += [(f"{key}: {name}", str(inner)) for name, inner in value.items()]
        else:
            rows.append((key, " ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return Section("environment", "Environment", [Table(rows) if rows else Note("env.json is not there.")])
