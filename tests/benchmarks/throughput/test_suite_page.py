"""The suite's page: how each part ended, its rows as tables, and a picture if there are rates to draw."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.modelling.predict import predicted
from benchmarks.throughput.suite_page import beside_model, cell, outcome, table, write_page
from recipes.settings.load import load

CPU = "AMD EPYC 7B13 (AVX2)"


def state(parts, **hardware):
    machine = {"processor": CPU, "cores": 4, **hardware}
    return {"environment": {"hardware": machine, "versions": {"torch": "2.15.0"}, "commit": "abc",
                            "utc": "2031-02-03T04:05:06Z"}, "parts": parts}


def part(status=0, done=True, seconds=12.4, command="python -m benchmarks.x"):
    return {"done": done, "status": status, "seconds": seconds, "command": command}


def rate(median):
    return {"median": median, "min": median / 2, "max": 2 * median, "n": 3}


@pytest.mark.parametrize(("machine", "name"), [
    ({}, "amd-epyc-7b13-2031-02-03.md"),
    ({"gpu": "NVIDIA H100 80GB HBM3"}, "nvidia-h100-80gb-hbm3-2031-02-03.md"),
    ({"processor": "Intel(R) Xeon(R) CPU @ 2.20GHz (AVX512)"}, "intel-r-xeon-r-cpu-2-20ghz-2031-02-03.md"),
    ({"processor": "A/B: c (NO AVX)"}, "a-b-c-2031-02-03.md"),
])
def test_the_page_is_named_after_device_and_day_beside_the_suites_file(machine, name, tmp_path):
    page = write_page(tmp_path / "s.json", state({}, **machine))
    assert page == tmp_path / name and [path.name for path in tmp_path.iterdir()] == [name]
    head = page.read_text().splitlines()
    assert head[0] == f"# {machine.get('gpu') or machine.get('processor', CPU)}, 2031-02-03"
    assert head[2] == "4 cores, torch 2.15.0, commit abc."


def test_every_part_has_its_command_its_end_and_its_rows(tmp_path):
    (tmp_path / "s-loaders.json").write_text(json.dumps([
        {"name": "a", "threads": 1, "images_per_second": rate(12_345.6), "command": "c", "environment": {}},
        {"name": "b", "threads": 2, "images_per_second": rate(0.5), "ratio": 1.25}]))
    (tmp_path / "other-accuracy.json").write_text(json.dumps([{"name": "not ours"}]))
    page = write_page(tmp_path / "s.json", state({"loaders": part(command="python -m benchmarks.loaders --repeats 3"),
                                                  "accuracy": part(None, False, 3601.5)}))
    text = page.read_text()
    assert text.index("## loaders") < text.index("## accuracy")
    assert "`python -m benchmarks.loaders --repeats 3`: done, 12 s\n\n" in text
    assert ("|  | threads | images per second | ratio |\n|---|---|---|---|\n| a | 1 | 12,346 |  |\n"
            "| b | 2 | 0.5 | 1.25 |\n") in text
    assert text.endswith("`python -m benchmarks.x`: cut off, tried again by the next call, 3,602 s\n\nno rows\n")
    assert "not ours" not in text and "![" not in text


def test_the_rates_of_epochs_are_drawn_recipe_by_recipe(tmp_path):
    for name in ("baseline", "resnet34"):
        rows = [{"name": f"{name} {kind}", "label": f"{name} " + 9 * "train.batch=500 ", "kind": kind, "way": kind,
                 "images_per_second": rate(900.0)} for kind in ("ours", "a")]
        rows.append({"name": f"{name} failed", "label": name, "kind": "b", "way": "b", "images_per_second": None})
        (tmp_path / f"s-epochs-{name}.json").write_text(json.dumps(rows))
        page = write_page(tmp_path / "s.json", state({"epochs-baseline": part(), "epochs-resnet34": part()}))
        assert "![Images per second](amd-epyc-7b13-2031-02-03.png)" in page.read_text()
        picture = np.asarray(Image.open(page.with_suffix(".png")).convert("RGB")).astype(int)
        ours = (abs(picture - (0, 0x72, 0xB2)).sum(2) < 9).any(1)
        # Runs of pixel rows that hold the colour of our bars: one per recipe.
        assert (np.diff(ours.astype(int)) == 1).sum() == (1 if name == "baseline" else 2)


def test_without_rates_there_is_no_picture(tmp_path):
    (tmp_path / "s-epochs-a.json").write_text(json.dumps([
        {"name": "a", "label": "a", "kind": "b", "way": "b", "images_per_second": None}]))
    page = write_page(tmp_path / "s.json", state({"epochs-a": part()}))
    assert "![" not in page.read_text() and not list(tmp_path.glob("*.png"))


def test_on_a_known_gpu_the_model_stands_beside_what_was_measured():
    label = "quickstart model.depth=2 model.width=4 train.batch=8 train.epochs=3"
    recipe = load("quickstart", settings={"model.depth": 2, "model.width": 4, "train.batch": 8, "train.epochs": 3})
    rows = [{"name": f"{label}, resident, graph", "label": label, "kind": "ours", "images_per_second": rate(9.0)},
            {"name": f"{label}, peer a", "label": label, "kind": "a", "images_per_second": rate(9.0)},
            {"name": f"{label}, step compile", "label": label, "kind": "ours", "failed": "it differs"},
            {"name": f"{label} seed 4", "train_seconds": 3.5, "recipe": "quickstart"}]
    assert beside_model(rows, CPU) is rows and beside_model(rows, "NVIDIA A10") is rows
    ours, peer, failed, accuracy = beside_model(rows, "NVIDIA H100 80GB HBM3")
    expected, at_peak = predicted(recipe, "NVIDIA H100 80GB HBM3")
    assert ours == {**rows[0], "modelled_images_per_second": expected.images_per_second,
                    "modelled_images_per_second_at_peak": at_peak.images_per_second}
    assert accuracy == {**rows[3], "modelled_run_s": expected.run_s, "modelled_run_s_at_peak": at_peak.run_s}
    assert (peer, failed) == (rows[1], rows[2])


@pytest.mark.parametrize(("known", "expected"), [
    (part(), "done, 12 s"), (part(None, False), "cut off, tried again by the next call, 12 s"),
    (part(0, False), "cut off, tried again by the next call, 12 s"), (part(3), "failed with status 3, 12 s"),
    (part(-9, False, 4000), "failed with status -9, 4,000 s")], ids=str)
def test_how_a_part_ended(known, expected):
    assert outcome(known) == expected


@pytest.mark.parametrize(("value", "shown"), [
    (True, "yes"), (False, "no"), (12345, "12,345"), (0, "0"), (0.123456, "0.1235"), (1234.5, "1,234"),
    (-2500.0, "-2,500"), (rate(7.0), "7"), ({"median": None}, None), ({"a": 1}, None), ([1], None), (None, None),
    ("a|b", "a/b"), ("x" * 60, "x" * 60), ("x" * 61, None)], ids=str)
def test_a_cell_is_short(value, shown):
    assert cell(value) == shown


def test_a_table_has_a_column_for_each_key_with_a_cell():
    rows = [{"name": "a|b", "ok": True, "said": "y" * 80, "hardware": {"cores": 1}}, {"name": "c", "largest": 2e-5}]
    assert table(rows) == ["|  | ok | largest |", "|---|---|---|", "| a/b | yes |  |", "| c |  | 2e-05 |"]
    assert table([]) == ["no rows"]
