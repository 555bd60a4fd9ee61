"""A page that compares runs: results side by side, overlaid curves, settings that differ."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.common.errors import EngineError
from engine.common.files import make_folder, write_atomic
from engine.plots.curves import comparison_figure, comparison_spec
from engine.plots.figure import write_png
from engine.reporting.html_page import Chart, Code, Heading, Note, Section, Table, render
from engine.reporting.panel_charts import chart
from engine.reporting.run_sections import NONE, best_epoch, number
from engine.storage.run_record import Record, read_record

RESULTS = (("train_top1", "train top-1", ".2%"), ("val_top1", "validation top-1", ".2%"),
           ("test_top1", "test top-1", ".2%"), ("test_top5", "test top-5", ".2%"), ("test_loss", "test loss", ".4f"),
           ("train_seconds", "training time (s)", ",.1f"), ("wall_seconds", "wall time (s)", ",.1f"),
           ("epochs_per_second", "epochs per second", ".4g"),
           ("images_per_second", "images per second", ",.0f"), ("feed_wait_share", "waited for data", ".2%"),
           ("parameters", "parameters", ","))
MACHINE = {"hardware": "hardware.processor", "GPU": "hardware.gpu", "torch": "versions.torch", "commit": "commit"}


def write_comparison(run_folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write a page that compares runs to `out` (compare.html in the first's folder), and its figure as PNG beside it;
    the page's path. Raises EngineError as `write_report`, and for a folder given twice."""
    names = names_of(run_folders)
    records = dict(zip(names, map(read_record, run_folders), strict=True))
    histories = {name: record.history for name, record in records.items()}
    notes = [Note(f"{name}: {sentence}") for name, record in records.items() for sentence in record.missing]
    differences = differing({name: record.settings for name, record in records.items()})
    path = out or run_folders[0] / "compare.html"
    make_folder(path.parent)
    picture = write_png(comparison_figure(histories), path.with_suffix(".png")).read_bytes()
    about = "Solid: the watched split, validation or test; dotted: training. Drag to zoom, double-click to zoom out."
    sections = [
        Section("results", "Results", [*notes, Table(results(records), ("", *names))]),
        Section("curves", "Curves", [Chart("comparison_chart", chart(comparison_spec(histories)), picture)], about),
        Section("differences", "Differences in configuration",
                [Table(differences, ("setting", *names)) if differences else Note("There are none.")],
                f"{NONE}: the run has no such setting."),
        Section("commands", "Run them again", [part for name, record in records.items()
                                               for part in (Heading(name), Code(record.command or NONE))]),
    ]
    page = render(f"{len(records)} runs compared", ", ".join(names), sections)
    write_atomic(path, page.encode(errors="backslashreplace"))
    return path


def results(records: Mapping[str, Record]) -> list[tuple[str, ...]]:
    """Rows of results, a column per run, without facts about the machine that no run has."""
    rows = [("recipe", *(record.recipe for record in records.values())),
            ("epochs", *(f"{len(record.history):,}" for record in records.values())),
            ("best epoch", *map(best_epoch, records.values()))]
    rows += [(title, *(number(results_of(record).get(key), pattern) for record in records.values()))
             for key, title, pattern in RESULTS]
    machine = [(title, *(value_at(record.env, path) for record in records.values())) for title, path in MACHINE.items()]
    return rows + [row for row in machine if set(row[1:]) != {NONE}]


def results_of(record: Record) -> dict:
    """A run's summary; without one, the same results from its epochs."""
    if record.summary or not record.history:
        return record.summary
    last = record.history[-1]
    train_s, wall_s = (sum(row.get(name) or 0 for row in record.history) for name in ("train_s", "wall_s"))
    return {"train_top1": last.get("train_top1"), "val_top1": last.get("validation_top1"),
            "train_seconds": train_s or None, "wall_seconds": wall_s or None,
            "epochs_per_second": len(record.history) / train_s if train_s else None}


def value_at(values: object, path: str) -> str:
    """The value at a path of keys such as "hardware.gpu"; NONE if there is none."""
    for key in path.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return str(values or NONE)


def differing(settings: Mapping[str, Mapping[str, str]]) -> list[tuple[str, ...]]:
    """(setting, each run's value) of the settings that differ, except run.folder."""
    paths = list(dict.fromkeys(path for each in settings.values() for path in each))
    sections = list(dict.fromkeys(path.partition(".")[0] for path in paths))
    paths.sort(key=lambda path: sections.index(path.partition(".")[0]))
    rows = [(path, *(each.get(path, NONE) or '""' for each in settings.values())) for path in paths]
    return [row for row in rows if row[0] != "run.folder" and len(set(row[1:])) > 1]


def names_of(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ; EngineError if two are the same folder."""
    parts = [folder.resolve().parts for folder in folders]
    if len(set(parts)) < len(parts):
        twice = next(folder for folder, path in zip(folders, parts, strict=True) if parts.count(path) > 1)
        raise EngineError(f"{twice} is given twice: name different runs")
    length = 1
    while len({path[-length:] for path in parts}) < len(parts):
        length += 1
    return ["/".join(path[-length:]) for path in parts]
