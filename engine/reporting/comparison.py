"""The picture of several runs over each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from engine.common.errors import EngineError
from engine.common.files import make_folder, write_atomic
from engine.plots.curves import SPLITS, scaled
from engine.plots.figure import FONT_PT, dress, new_figure, write_png
from engine.reporting.charts import RUN_COLOURS, comparison_chart, drawable
from engine.reporting.html_page import Chart, Code, Heading, Note, Section, Table, render
from engine.reporting.run_sections import NONE, number
from engine.storage.run_record import Record, read_record

LONGEST_LABEL = 60


def comparison_figure(histories: Mapping[str, list[dict]]) -> Figure:
    """Loss, accuracy and rate over the epochs and accuracy over the training time; dotted is training."""
    figure = new_figure(13, 9 + 0.25 * len(histories))
    loss, accuracy, rate, over_time = figure.subplots(2, 2).flat
    dress(loss, "Loss", "epoch", "mean loss a sample")
    dress(accuracy, "Accuracy", "epoch", "top-1 accuracy (%)")
    dress(rate, "Learning rate", "epoch", "learning rate")
    dress(over_time, "Accuracy over training time", "training time (s)", "top-1 accuracy (%)")
    for place, (run, history) in enumerate(histories.items()):
        look = {"color": RUN_COLOURS[place % len(RUN_COLOURS)], "linewidth": 2, "marker": "o", "markersize": 3}
        seconds = np.cumsum([row.get("train_s") or 0 for row in history]).tolist()
        label = run if len(run) <= LONGEST_LABEL else "…" + run[1 - LONGEST_LABEL:]
        # A line without points, so that a run is in the legend whatever it measured.
        rate.plot([], [], label=label, **look)
        for axes, key, x, splits in ((loss, "loss", None, SPLITS), (accuracy, "top1", None, SPLITS),
                                     (over_time, "top1", seconds, SPLITS), (rate, "lr", None, ("",))):
            for split in splits:
                values = [row.get(f"{split}_{key}".lstrip("_")) for row in history]
                points = drawable(history, [scaled(value, 100) for value in values] if key == "top1" else values, x)
                if points:
                    y = [np.nan if value is None else value for value in points[1]]
                    axes.plot(points[0], y, linestyle=":" if split == "train" else "-", **look)
    handles, labels = rate.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside upper left", frameon=False, fontsize=FONT_PT,
                           title="dotted: training, solid: validation or test", alignment="left")
    for text in legend.get_texts():
        text.set_parse_math(False)
    for axes in (loss, accuracy, rate):
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return figure


# Where a run lies, not what it is.
NO_DIFFERENCE = {"run.folder"}


def write_comparison(run_folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write a page of several runs over each other to `out` (compare.html in the first's folder), and compare.png
    beside it. Returns the page's path; raises EngineError as `write_report`, and for one folder given twice."""
    names = names_of(run_folders)
    records = dict(zip(names, map(read_record, run_folders), strict=True))
    histories = {name: record.history for name, record in records.items()}
    notes = [Note(f"{name}: {sentence}") for name, record in records.items() for sentence in record.missing]
    differences = differing({name: record.settings for name, record in records.items()})
    path = out or run_folders[0] / "compare.html"
    make_folder(path.parent)
    write_png(comparison_figure(histories), path.with_suffix(".png"))
    about = "Solid: validation or test, what the run watched; dotted: training. Drag to zoom, double-click to zoom out."
    sections = [
        Section("results", "Results", [*notes, Table(results(records), ("", *names))]),
        Section("curves", "Curves", [Chart("comparison_chart", comparison_chart(histories))], about),
        Section("differences", "Differences in configuration",
                [Table(differences, ("setting", *names)) if differences else Note("There are none.")],
                f"{NONE} where a run has no such setting."),
        Section("commands", "Run them again", [part for name, record in records.items()
                                               for part in (Heading(name), Code(record.command or NONE))]),
    ]
    write_atomic(path, render(f"{len(records)} runs compared", ", ".join(names), sections).encode())
    return path


def results(records: Mapping[str, Record]) -> list[tuple[str, ...]]:
    """Rows of what each run came to, a column a run."""
    rows = []
    for title, shown in (("recipe", lambda record: record.recipe),
                         ("epochs", lambda record: f"{len(record.history):,}")):
        rows.append((title, *map(shown, records.values())))
    for key, title, pattern in (("train_top1", "train top-1", ".2%"), ("val_top1", "validation top-1", ".2%"),
                                ("test_top1", "test top-1", ".2%"), ("test_top5", "test top-5", ".2%"),
                                ("test_loss", "test loss", ".4f"), ("train_seconds", "training time (s)", ",.1f"),
                                ("epochs_per_second", "epochs per second", ".4g"),
                                ("images_per_second", "images per second", ",.0f"),
                                ("feed_wait_share", "waited for data", ".2%"), ("parameters", "parameters", ",")):
        rows.append((title, *(number(results_of(record).get(key), pattern) for record in records.values())))
    for title, path in (("hardware", ("hardware", "processor")), ("GPU", ("hardware", "gpu")),
                        ("torch", ("versions", "torch")), ("commit", ("commit",))):
        cells = [str(inside(record.env, path) or NONE) for record in records.values()]
        if set(cells) != {NONE}:
            rows.append((title, *cells))
    return rows


def results_of(record: Record) -> dict:
    """A run's summary; of one that has none, what its epochs tell."""
    if record.summary or not record.history:
        return record.summary
    last, train_s = record.history[-1], sum(row.get("train_s") or 0 for row in record.history)
    return {"train_top1": last.get("train_top1"), "val_top1": last.get("validation_top1"),
            "train_seconds": train_s or None, "epochs_per_second": len(record.history) / train_s if train_s else None}


def inside(values: dict, path: Sequence[str]) -> object:
    """The value at a path of keys; None where it ends before."""
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def differing(settings: Mapping[str, Mapping[str, str]]) -> list[tuple[str, ...]]:
    """(setting, each run's value) of the settings that are not the same in all of them."""
    paths = list(dict.fromkeys(path for each in settings.values() for path in each))
    sections = list(dict.fromkeys(path.partition(".")[0] for path in paths))
    paths.sort(key=lambda path: sections.index(path.partition(".")[0]))
    rows = [(path, *(each.get(path, NONE) or '""' for each in settings.values())) for path in paths]
    return [row for row in rows if row[0] not in NO_DIFFERENCE and len(set(row[1:])) > 1]


def names_of(folders: Sequence[Path]) -> list[str]:
    """As much of each path's end as tells them apart; EngineError where two are the same folder."""
    parts = [folder.resolve().parts for folder in folders]
    if len(set(parts)) < len(parts):
        twice = next(folder for folder, path in zip(folders, parts, strict=True) if parts.count(path) > 1)
        raise EngineError(f"{twice} is given twice: name different runs")
    length = 1
    while len({path[-length:] for path in parts}) < len(parts):
        length += 1
    return ["/".join(path[-length:]) for path in parts]
