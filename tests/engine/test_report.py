import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from engine.build.feeds import build_train_feed
from engine.cli.parser import USER_ERRORS
from engine.common.errors import EngineError
from engine.inference import held_out
from engine.inference.held_out import Predictions, RunData, hold_out, open_run_data
from engine.inference.trained import open_trained
from engine.report import main
from engine.reporting import prediction_sections, run_sections
from engine.reporting.comparison import results
from engine.reporting.run_report import write_report
from engine.session.launch import start
from engine.storage import checkpoint
from engine.storage.run_record import read_record
from recipes.settings.load import load

pytestmark = pytest.mark.slow("needs a trained run")
HTML_NAME = "<img src=x onerror=alert(1)>&amp; 'co'"
SECTIONS = ["result", "command", "curves", "per_class", "confusion", "predictions", "gradcam", "feature_maps",
            "calibration", "speed", "augmentation", "settings", "environment"]
PICTURES = ["accuracy", "augmentation", "calibration", "confused_pairs", "confusion", "feature_maps", "gradcam",
            "generalisation_gap", "learning_rate", "loss", "mistakes", "overview", "per_class", "predictions", "speed"]


@pytest.fixture
def run(reported_run, tmp_path):
    """A copy of that run for a test to change."""
    return shutil.copytree(reported_run, tmp_path / "run")


@pytest.fixture(scope="module")
def folders_run(tmp_path_factory):
    """A run of one epoch on two class folders without test images, one of them named in HTML."""
    root = tmp_path_factory.mktemp("folders")
    draws = np.random.default_rng(0)
    for number, name in enumerate(("plain", HTML_NAME)):
        (root / "train" / name).mkdir(parents=True)
        for image in range(24):
            pixels = draws.integers(100 * number, 100 * number + 99, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "train" / name / f"{image}.png")
    settings = {"data.name": "folder", "data.root": str(root), "data.cache": str(root / "cache"), "data.resolution": 16,
                "data.validation": 0.25, "train.batch": 12, "train.epochs": 1, "model.width": 4, "model.depth": 3,
                "run.report": False, "run.folder": str(root / "run")}
    assert start(load("quickstart", settings=settings)) == 0
    return root / "run"


@pytest.fixture
def unpainted(monkeypatch):
    """Skip the PNGs of pages, which take most of the time."""
    for module in (prediction_sections, run_sections):
        monkeypatch.setattr(module, "write_png", lambda *_: None)
    monkeypatch.setattr(prediction_sections, "write_confusion", lambda *_: None)
    monkeypatch.setattr(run_sections, "draw_curves", lambda *_: None)


def sections_of(page):
    return {part.split('"', 1)[0]: part for part in page.read_text().split('<section id="')[1:]}


def notes_of(section):
    return [part.split("</p>")[0] for part in section.split('<p class="note">')[1:]]


def report_data_of(run):
    trained = open_trained(str(run))
    data = open_run_data(trained)
    held = hold_out(trained, data)
    predictions = held_out.predictions_of(trained, data.recipe, held)
    return prediction_sections.ReportData(trained, held, predictions, run / "plots", data.recipe.section("train").seed)


def error_of(*words):
    with pytest.raises(USER_ERRORS) as caught:
        main([*map(str, words)])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_command_writes_the_page_and_prints_its_path(run, unpainted, capsys):
    (run / "report.html").unlink()
    assert main([str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html") and (run / "report.html").is_file()


def test_the_page_has_every_section_and_a_picture_of_each(reported_run):
    run, page = reported_run, reported_run / "report.html"
    sections = sections_of(page)
    assert list(sections) == SECTIONS
    assert not [note for section in sections.values() for note in notes_of(section) if "Not here" in note]
    assert page.stat().st_size < 15e6
    assert set(PICTURES) >= {path.stem for path in (run / "plots").glob("*.png")} >= set(PICTURES) - {"confused_pairs"}
    words = (run / "command.txt").read_text().split()
    assert len(words) > 5 and words[-1] in sections["command"] and "run.folder" not in sections["command"]
    assert sections["predictions"].count("<figure") >= prediction_sections.RANDOM
    assert sections["gradcam"].count("<figure") == prediction_sections.GRADCAMS
    assert "train.batch" in sections["settings"] and "versions: torch" in sections["environment"]
    assert not list(run.glob("**/.*.part"))


def test_the_predictions_are_those_that_the_run_measured(run):
    result = report_data_of(run).predictions.result
    summary = json.loads((run / "summary.json").read_text())
    assert (result.top1, result.top5) == (summary["test_top1"], summary["test_top5"])
    assert result.loss == pytest.approx(summary["test_loss"], rel=1e-6)


def test_predictions_are_measured_once_and_again_when_they_are_stale_or_damaged(run, monkeypatch):
    measured = []
    (run / held_out.FILE).unlink()
    plain = held_out.measure
    monkeypatch.setattr(held_out, "measure", lambda *given: measured.append(None) or plain(*given))
    trained = open_trained(str(run))
    data = open_run_data(trained)
    held = hold_out(trained, data)
    first = held_out.predictions_of(trained, data.recipe, held)
    again = held_out.predictions_of(trained, data.recipe, held)
    assert len(measured) == 1 and np.array_equal(first.logits, again.logits)
    (run / held_out.FILE).write_bytes((run / held_out.FILE).read_bytes()[:1000])
    held_out.predictions_of(trained, data.recipe, held)
    assert len(measured) == 2
    next(trained.model.parameters()).mul_(0.5)
    changed = held_out.predictions_of(trained, data.recipe, held)
    assert len(measured) == 3 and not np.array_equal(first.logits, changed.logits)


def test_held_out_images_are_those_of_the_labels(run):
    data, which = report_data_of(run), np.array([7, 150, 7, 0])
    images_bhwc = data.held_out.images(which)
    logits = data.trained.logits(torch.from_numpy(images_bhwc)).numpy()
    assert np.allclose(logits, data.predictions.logits[which], atol=0.1)
    assert np.ptp(logits[:2], axis=0).max() > 0.2 and np.array_equal(images_bhwc[0], images_bhwc[2])


def test_the_augmented_images_are_those_the_training_feed_gives(run, monkeypatch):
    trained = open_trained(str(run))
    data = open_run_data(trained)
    shown = []
    monkeypatch.setattr(run_sections, "strips_figure", lambda strips, _: shown.extend(strips))
    monkeypatch.setattr(run_sections, "write_png", lambda *_: None)
    run_sections.augmentation(data, run / "plots")
    feed = build_train_feed(data.recipe, data.betons, trained.device, threads=1)
    for epoch in range(2):
        with feed.epoch(epoch) as batches:
            given = {image.numpy().tobytes() for batch in batches for image in batch.images_bhwc}
        assert all(image.tobytes() in given for image in shown[1 + epoch].images)
    feed.close()
    assert len(shown) == 1 + run_sections.SHEET_EPOCHS


def test_an_interrupted_run_has_a_page_with_what_was_measured_for_it(run, unpainted):
    (run / "summary.json").unlink()
    sections = sections_of(write_report(run))
    assert "has not finished" in sections["result"] and "test top-1, measured for this page" in sections["result"]
    assert "<figure" in sections["predictions"]


def test_predictions_of_weights_older_than_the_curves_say_so(run, unpainted):
    (run / "summary.json").unlink()
    assert "weights" not in sections_of(write_report(run))
    with (run / "metrics.csv").open("a") as file:
        lines = (run / "metrics.csv").read_text().splitlines()
        file.write(f"4,{lines[-1].partition(',')[2]}\n")
    sections = sections_of(write_report(run))
    assert "last.pt has the weights after epoch 4, and 5 epochs are recorded" in sections["weights"]


def test_the_best_epoch_and_both_kinds_of_seconds_are_results(run, unpainted):
    summary, result = json.loads((run / "summary.json").read_text()), sections_of(write_report(run))["result"]
    shares = [row["validation_top1"] for row in read_record(run).history]
    assert f"{shares.index(max(shares)) + 1}, by validation top-1 {max(shares):.2%}" in result
    for name in ("train_seconds", "wall_seconds"):
        assert f"{summary[name]:,.1f} s" in result


def test_a_run_stopped_before_its_first_epoch_has_a_page(run, unpainted):
    for path in (run / "summary.json", run / "metrics.csv", run / "checkpoints", run / "env.json", run / "command.txt"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (run / "metrics.jsonl").write_text("")
    sections = sections_of(write_report(run))
    assert "No epoch has been recorded" in sections["curves"]
    assert "has no checkpoints/last.pt" in sections["answers"] and "Not here" in sections["augmentation"]
    assert "not recorded" in sections["command"] and "train.epochs" in sections["settings"]


def test_damaged_files_are_named_on_the_page(run, unpainted):
    (run / "summary.json").write_text("{")
    (run / "metrics.csv").write_text("epoch,lr\nx,1\n")
    last = run / "checkpoints" / "last.pt"
    last.write_bytes(last.read_bytes()[:-100])
    sections = sections_of(write_report(run))
    assert "summary.json cannot be read" in sections["result"] and "metrics.csv cannot be read" in sections["result"]
    assert "was not written by Cadence" in sections["answers"]


def test_values_that_are_not_finite_break_the_curves_and_are_counted(run, unpainted):
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[1]["train_loss"] = "nan"
    with (run / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    record = read_record(run)
    assert np.isnan(record.history[1]["train_loss"]) and record.history[0]["test_loss"] is None
    note, chart = run_sections.curves(record, run / "plots").parts
    assert "In 1 of 4 epochs a value is not finite (first in epoch 2)" in note.text
    assert next(trace for trace in chart.figure.data if trace.name == "train").y[1] is None


def test_a_network_without_finite_predictions_has_a_page(run, unpainted, monkeypatch):
    plain = held_out.measure

    def diverged(*given):
        measured = plain(*given)
        return Predictions(np.full_like(measured.logits, np.nan), measured.labels)

    (run / held_out.FILE).unlink()
    monkeypatch.setattr(held_out, "measure", diverged)
    assert "diverged" in sections_of(write_report(run))["answers"]


def test_predictions_that_are_not_finite_are_counted_and_shown_as_wrong(run, unpainted, monkeypatch):
    plain = held_out.measure

    def damaged(*given):
        measured = plain(*given)
        measured.logits[::2] = np.inf
        return measured

    (run / held_out.FILE).unlink()
    monkeypatch.setattr(held_out, "measure", damaged)
    data = report_data_of(run)
    assert "200 of 400 images have no prediction" in prediction_sections.confusion(data).parts[0].text
    lost, fine = data.card(0, np.zeros((2, 2, 3), np.uint8)), data.card(1, np.zeros((2, 2, 3), np.uint8))
    assert lost.mark == "wrong" and lost.lines[1] == "no prediction: not finite" and fine.lines[2].endswith(" % sure")
    assert (prediction_sections.confident_mistakes(data.predictions) % 2 == 1).all()


def test_a_run_whose_data_are_gone_has_a_page_that_says_so(folders_run, unpainted, tmp_path):
    copy = shutil.copytree(folders_run, tmp_path / "run")
    page = write_report(copy, settings={"data.root": str(tmp_path / "nowhere")})
    assert "is not a folder" in sections_of(page)["answers"] and "Not here" in sections_of(page)["augmentation"]
    assert "curves_chart" in sections_of(page)["curves"]


def test_names_in_html_stay_text_and_validation_stands_in_for_a_missing_test_split(folders_run, unpainted):
    page = write_report(folders_run)
    text, sections = page.read_text(), sections_of(page)
    assert HTML_NAME not in text and "&lt;img src=x onerror=alert(1)&gt;" in sections["predictions"]
    assert "validation top-1, measured for this page" in sections["result"]
    assert "8 random validation images" in sections["predictions"]


def test_without_any_held_out_images_the_reason_is_given(folders_run):
    trained = open_trained(str(folders_run))
    data = open_run_data(trained)
    with pytest.raises(EngineError, match="add a test/ folder"):
        hold_out(trained, RunData(data.recipe, data.betons, data.train, data.validation[:0]))


def test_other_data_are_refused(run, tmp_path):
    trained = open_trained(str(run))
    with pytest.raises(EngineError, match="knows 10 classes"):
        open_run_data(trained, {"data.classes": 12})
    with pytest.raises(EngineError, match="the train images of shapes are not those that the run had"):
        open_run_data(trained, {"data.shapes_seed": 5})


def test_a_summary_of_an_earlier_end_is_named(run):
    assert read_record(run).missing == ()
    with (run / "metrics.csv").open("a") as file:
        last = (run / "metrics.csv").read_text().splitlines()[-1]
        file.write("4" + last[1:] + "\n")
    assert read_record(run).missing == ("summary.json is of 4 epochs, and 5 are recorded: the run was resumed, and "
                                        "summary.json describes its earlier end.",)


def test_a_checkpoint_with_a_removed_setting_has_a_page(run, unpainted):
    content = checkpoint.load(run / "checkpoints" / "last.pt")
    content["values"]["train.gone"] = 1
    checkpoint.save(run / "checkpoints" / "last.pt", content)
    sections = sections_of(write_report(run))
    assert "last.pt does not fit this version of Cadence: train.gone is unknown" in sections["answers"]
    assert "curves_chart" in sections["curves"]


def test_gradcam_that_is_not_installed_is_named(run, unpainted, monkeypatch):
    def absent(*_):
        raise EngineError("GradCAM needs the grad-cam package: pip install 'cadence-train[cam]'")

    monkeypatch.setattr(prediction_sections, "overlays", absent)
    assert "cadence-train[cam]" in prediction_sections.gradcam(report_data_of(run)).parts[0].text


def test_two_runs_are_compared(run, folders_run, tmp_path, capsys):
    assert main(["--compare", str(run), str(folders_run), "--out", str(tmp_path / "new" / "both.html")]) == 0
    page = tmp_path / "new" / "both.html"
    assert capsys.readouterr().out.strip() == str(page) and page.with_suffix(".png").stat().st_size > 10_000
    sections = sections_of(page)
    assert list(sections) == ["results", "curves", "differences", "commands"]
    differences = sections["differences"]
    assert "train.epochs" in differences and "data.root" in differences
    assert "run.folder" not in differences and "train.label_smoothing" not in differences


def test_the_run_itself_comes_first_in_a_comparison_and_unfinished_ones_are_named(run, folders_run):
    (run / "summary.json").unlink()
    (run / "metrics.csv").unlink()
    assert main([str(run), "--compare", str(folders_run)]) == 0
    sections = sections_of(run / "compare.html")
    assert any("has not finished" in note for note in notes_of(sections["results"]))


def test_a_comparison_shows_the_epochs_results_of_an_unfinished_run(run, reported_run):
    (run / "summary.json").unlink()
    rows = {name: cells for name, *cells in results({"run": read_record(run), "kept": read_record(reported_run)})}
    for name in ("train top-1", "validation top-1", "training time (s)", "epochs per second"):
        assert rows[name][0] == rows[name][1] != "-", name
    assert rows["test top-1"][0] == "-" != rows["test top-1"][1]


def test_mistakes_are_one_line(run, tmp_path):
    assert "RUN is missing" in error_of()
    assert "is not a run folder" in error_of(tmp_path)
    assert "--train.epochs has no effect" in error_of(run, "--train.epochs=3")
    assert "two runs" in error_of("--compare", run)
    assert "is a folder" in error_of(run, "--out", tmp_path)
    assert "--data.root has no effect" in error_of(run, "--compare", tmp_path, "--data.root=x")
    assert "--compar is unknown" in error_of("--compar", run)
    (tmp_path / "repeats.json").write_text("{}")
    assert "one run per seed" in error_of(tmp_path)
    (tmp_path / "file").write_text("")
    assert "cannot be written" in error_of(run, "--out", tmp_path / "file" / "page.html")
