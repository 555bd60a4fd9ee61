"""A run's page, and a page that compares runs: from what their folders hold to one HTML file and its pictures."""

from collections.abc import Mapping
from pathlib import Path

from engine.build.datasets import OnWarning
from engine.common.errors import EngineError
from engine.common.files import make_folder, write_atomic
from engine.inference.held_out import NO_SETTINGS, RunData, hold_out, open_run_data, predictions_of
from engine.inference.trained import Trained, open_trained
from engine.reporting import prediction_sections, run_sections
from engine.reporting.html_page import Note, Section, render
from engine.storage.run_record import Record, read_record
from engine.training.metrics import Result
from loaders.common.errors import DataError
from recipes.settings.load import RecipeError

Told = tuple[list[Section], Result | None, str, Section]
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
    run = run_sections
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
        return ([missing("answers", prediction_sections.WITHOUT, error)], None, "",
                missing("augmentation", "Augmentation", error))
    sheet = run_sections.augmentation(data, plots)
    try:
        found = find(trained, data, plots)
    except (EngineError, DataError) as error:
        return [missing("answers", prediction_sections.WITHOUT, error)], None, "", sheet
    if not found.answers.finite.any():
        error = EngineError("the network has no answer that is finite on any image: its training diverged")
        return [missing("answers", prediction_sections.WITHOUT, error)], None, found.held.split, sheet
    sections = [chapter(found) for chapter in prediction_sections.CHAPTERS]
    return sections, found.answers.result, found.held.split, sheet


def find(trained: Trained, data: RunData, plots: Path) -> prediction_sections.Found:
    """The run's answers, measured or read."""
    held = hold_out(trained, data)
    return prediction_sections.Found(trained, held, predictions_of(trained, data.recipe, held), plots,
                          data.recipe.section("train").seed)


def missing(name: str, title: str, error: Exception) -> Section:
    """A section that says why there is nothing in it."""
    return Section(name, title, [Note(f"{NOT_HERE}{error}")])


def is_missing(section: Section) -> bool:
    """Whether a section holds nothing but the reason for that."""
    return [part.text.startswith(NOT_HERE) for part in section.parts if isinstance(part, Note)] == [True]












