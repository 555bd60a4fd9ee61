"""A run's report: from its folder to one HTML page and its figures as PNGs."""

from collections.abc import Mapping
from pathlib import Path

from engine.build.datasets import OnWarning
from engine.common.errors import EngineError
from engine.common.files import make_folder, write_atomic
from engine.inference.held_out import NO_SETTINGS, hold_out, open_run_data, predictions_of
from engine.inference.trained import open_trained
from engine.reporting import prediction_sections, run_sections
from engine.reporting.html_page import Note, Section, render
from engine.reporting.prediction_sections import ReportData
from engine.storage.run_record import Record, read_record
from engine.training.metrics import Result
from loaders.common.errors import DataError
from recipes.settings.load import RecipeError

NOT_HERE = "Not here: "
PREDICTIONS = ("answers", "Classes, confusion, predictions, GradCAM, feature maps and calibration")


def write_report(run_folder: Path, out: Path | None = None, settings: Mapping[str, object] = NO_SETTINGS,
                 say: OnWarning = None) -> Path:
    """Write the page of a run, finished or not, to `out` (RUN/report.html), and its figures to RUN/plots.

    Measures the run's predictions on its held-out images, or reads them from RUN/predictions.npz. settings: where the
    data are and which device to use ("data.root", "train.device"). The page names what it cannot show. Returns the
    page's path; raises EngineError if `run_folder` is no run folder or nothing can be written.
    """
    record, path = read_record(run_folder), out or run_folder / "report.html"
    plots, _ = make_folder(run_folder / "plots"), make_folder(path.parent)
    sections = sections_of(record, plots, settings, say)
    write_atomic(path, render(record.title, str(run_folder), sections).encode(errors="backslashreplace"))
    return path


def sections_of(record: Record, plots: Path, settings: Mapping[str, object] = NO_SETTINGS,
                say: OnWarning = None) -> list[Section]:
    """All sections of a run's page; their figures are written into `plots`."""
    about_predictions, result, split, augmentation = measured_sections(record, plots, settings, say)
    return [run_sections.headline(record, result, split), run_sections.command(record),
            run_sections.curves(record, plots), *about_predictions, run_sections.speed(record, plots), augmentation,
            run_sections.settings(record), run_sections.environment(record)]


def measured_sections(record: Record, plots: Path, settings: Mapping[str, object],
                      say: OnWarning) -> tuple[list[Section], Result | None, str, Section]:
    """(sections on the predictions, their Result or None, their split, the section on the augmentation). A section that
    gives the reason replaces what cannot be shown."""
    try:
        trained = open_trained(str(record.folder), device=str(settings.get("train.device", "auto")))
        data = open_run_data(trained, settings, say)
    except (EngineError, DataError, RecipeError) as error:
        return [missing(*PREDICTIONS, error)], None, "", missing("augmentation", "Augmentation", error)
    augmentation = run_sections.augmentation(data, plots)
    try:
        held_out = hold_out(trained, data)
        predictions = predictions_of(trained, data.recipe, held_out)
        if not predictions.finite.any():
            raise EngineError("the network's logits are not finite on any image: its training diverged")
    except (EngineError, DataError) as error:
        return [missing(*PREDICTIONS, error)], None, "", augmentation
    report_data = ReportData(trained, held_out, predictions, plots, data.recipe.section("train").seed)
    sections = [section(report_data) for section in prediction_sections.SECTIONS]
    if trained.epoch < len(record.history):
        said = (f"{trained.path.name} has the weights after epoch {trained.epoch}, and {len(record.history)} epochs "
                "are recorded: the predictions below, and what was measured for this page, are of the earlier weights.")
        sections.insert(0, Section("weights", "Weights", [Note(said)]))
    return sections, predictions.result, held_out.split, augmentation


def missing(name: str, title: str, error: Exception) -> Section:
    """A section that says why it is empty."""
    return Section(name, title, [Note(f"{NOT_HERE}{error}")])


def is_missing(section: Section) -> bool:
    """Whether `missing` made the section."""
    return [part.text.startswith(NOT_HERE) for part in section.parts if isinstance(part, Note)] == [True]
