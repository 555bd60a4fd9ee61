"""The suite's page: what each part came to, its rows as tables, and a picture where there are rates to draw."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.suite_page import cell, draw, rate_of, said, table, write_page

CPU = "AMD EPYC 7B13 (AVX2)"


def state(parts, **hardware):
    machine = {"processor": CPU, "cores": 4, **hardware}
    return {"environment": {"hardware": machine, "versions": {"torch": "2.15.0"}, "commit": "abc", "load_1min": 0.1,
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


def test_the_rates_of_epochs_are_drawn(tmp_path):
    rows = [{"name": "ours", "images_per_second": rate(9000.0)}, {"name": "peer", "images_per_second": 300.0},
            {"name": "failed", "images_per_second": None}, {"name": "peak"}]
    (tmp_path / "s-epochs-baseline.json").write_text(json.dumps(rows))
    page = write_page(tmp_path / "s.json", state({"epochs-baseline": part()}))
    assert "![Images a second](amd-epyc-7b13-2031-02-03.png)" in page.read_text()
    assert np.asarray(Image.open(page.with_suffix(".png")).convert("RGB")).std() > 5


def test_a_bar_for_each_rate(tmp_path):
    draw([("a", 10.0), ("b", 1000.0)], tmp_path / "two.png")
    draw([(f"row {number}", 10.0 + number) for number in range(30)], tmp_path / "many.png")
    sizes = [Image.open(tmp_path / name).size for name in ("two.png", "many.png")]
    assert sizes[0][0] == sizes[1][0] and sizes[1][1] > 4 * sizes[0][1]


@pytest.mark.parametrize(("known", "expected"), [
    (part(), "done, 12 s"), (part(None, False), "cut off, tried again by the next call, 12 s"),
    (part(0, False), "cut off, tried again by the next call, 12 s"), (part(3), "failed with status 3, 12 s"),
    (part(-9, False, 4000), "failed with status -9, 4,000 s")], ids=str)
def test_how_a_part_ended(known, expected):
    assert said(known) == expected


@pytest.mark.parametrize(("value", "shown"), [
    (True, "yes"), (False, "no"), (12345, "12,345"), (0, "0"), (0.123456, "0.1235"), (1234.5, "1,234"),
    (-2500.0, "-2,500"), (rate(7.0), "7"), ({"median": None}, None), ({"a": 1}, None), ([1], None), (None, None),
    ("a|b", "a/b"), ("x" * 60, "x" * 60), ("x" * 61, None)], ids=str)
def test_a_cell_is_short(value, shown):
    assert cell(value) == shown


def test_a_table_has_a_column_for_whatever_a_row_can_show():
    rows = [{"name": "a|b", "ok": True, "said": "y" * 80, "hardware": {"cores": 1}}, {"name": "c", "largest": 2e-5}]
    assert table(rows) == ["|  | ok | largest |", "|---|---|---|", "| a/b | yes |  |", "| c |  | 2e-05 |"]
    assert table([]) == ["no rows"]


def test_rates_are_medians_or_plain_numbers():
    assert rate_of({"images_per_second": rate(3.0)}) == 3.0
    assert rate_of({"images_per_second": 4.0}) == 4.0
    assert rate_of({"images_per_second": None}) is rate_of({}) is None
