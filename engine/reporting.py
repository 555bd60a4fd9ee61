"""A run's page, and a page that compares runs: from what their folders hold to one HTML file and its pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from engine import chapters, run_chapters
from engine.datasets import OnWarning
from engine.errors import EngineError
from engine.files import make_folder, write_atomic
from engine.findings import NO_SETTINGS, RunData, answers_of, hold_out, open_run_data
from engine.record import Record, read_record
from engine.run_chapters import NONE, number
from engine.trained import Trained, open_trained
from engine.training.metrics import Result
from engine.views.canvas import write_png
from engine.views.charts import comparison_chart
from engine.views.comparison import comparison_figure
from engine.views.page import Chart, Code, Heading, Note, Section, Table, render
from loaders.errors import DataError
from recipes.load import RecipeError

Told = tuple[list[Section], Result | None, str, Section]
# Where a run lies, not what it is.
NO_DIFFERENCE = {"run.folder"}
NOT_HERE = "Not here: "


def write_report(run_folder: Path, out: Path | None = None, settings: Mapping[str, object] = NO_SETTINGS,
                 say: OnWarning = None) -> Path:
    """Write the page of a run, finished or not, to `out` (RUN/report.html), and its pictures to RUN/plots.

    The run's answers on its held-out images are measured, or read from RUN/predictions.npz. settings: where the data
    are and what computes ("data.root", "train.device"). What cannot be shown is named on the page. Returns the page's
    path; raises EngineError where `run_folder` is no run's, or where nothing can be written.
    """
    record, path = read_record(run_folder), out or run_folder / "report.html"
    plots, _ = make_folder(run_folder / "plots"), make_folder(path.parent)
    sections = sections_of(record, plots, settings, say)
    write_atomic(path, render(record.title, str(run_folder), sections).encode())
    return path


def sections_of(record: Record, plots: Path, settings: Mapping[str, object] = NO_SETTINGS,
                say: OnWarning = None) -> list[Section]:
    """All sections of a run's page; their pictures are written into `plots`."""
    run = run_chapters
    about_answers, result, split, sheet = answer_chapters(record, plots, settings, say)
    return [run.headline(record, result, split), run.command(record), run.curves(record, plots), *about_answers,
            run.speed(record, plots), sheet, run.settings(record), run.environment(record)]


def answer_chapters(record: Record, plots: Path, settings: Mapping[str, object], say: OnWarning) -> Told:
    """(sections about the network's answers, their Result or None, the split they are on, the augmentation's section).

    What is missing stands in a section in its place.
    """
    try:
        trained = open_trained(str(record.folder), device=str(settings.get("train.device", "auto")))
        data = open_run_data(trained, settings, say)
    except (EngineError, DataError, RecipeError) as error:
        return [missing("answers", chapters.WITHOUT, error)], None, "", missing("augmentation", "Augmentation", error)
    sheet = run_chapters.augmentation(data, plots)
    try:
        found = find(trained, data, plots)
    except (EngineError, DataError) as error:
        return [missing("answers", chapters.WITHOUT, error)], None, "", sheet
    if not found.answers.finite.any():
        error = EngineError("the network has no answer that is finite on any image: its training diverged")
        return [missing("answers", chapters.WITHOUT, error)], None, found.held.split, sheet
    sections = [chapter(found) for chapter in chapters.CHAPTERS]
    return sections, found.answers.result, found.held.split, sheet


def find(trained: Trained, data: RunData, plots: Path) -> chapters.Found:
    """The run's answers, measured or read."""
    held = hold_out(trained, data)
    return chapters.Found(trained, held, answers_of(trained, data.recipe, held), plots,
                          data.recipe.section("train").seed)


def missing(name: str, title: str, error: Exception) -> Section:
    """A section that says why there is nothing in it."""
    return Section(name, title, [Note(f"{NOT_HERE}{error}")])


def is_missing(section: Section) -> bool:
    """Whether a section holds nothing but the reason for that."""
    return [part.text.startswith(NOT_HERE) for part in section.parts if isinstance(part, Note)] == [True]


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
