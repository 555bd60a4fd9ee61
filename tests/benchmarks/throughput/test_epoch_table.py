"""The README's section shows the figures, the best way and what is missing; so do screen and picture."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.common.timing import Timings
from benchmarks.throughput.epoch_rows import Measurement, failed_row, make_rows, peak_row
from benchmarks.throughput.epoch_table import HEAD, draw, show, summary

MACHINE = {"hardware": {"processor": "P", "cores": 2}}


def rows(label="net", gpu=None):
    measured = {
        "stream, eager": Measurement("ours", Timings((0.01,) * 3), {"step": "eager", "precision": "bf16"}),
        "stream, compile": Measurement("ours", Timings((0.008,) * 3), {"step": "compile", "precision": "bf16",
                                                                   "first_step_s": 12.5}),
        "step alone, eager": Measurement("step", Timings((0.0099,) * 3), {"step": "eager"}),
        "step alone, compile": Measurement("step", Timings((0.008,) * 3), {"step": "compile"}),
        "peer a: author's style": Measurement("a", Timings((0.05,) * 3)),
        "peer b: tuned": Measurement("b", Timings((0.02,) * 3)),
        "peer c: FFCV's operations": Measurement("c", Timings((0.016,) * 3), {"left_out": "blur(kernel_px=3)"}),
    }
    peak = Timings((1e12,) * 3)
    made = make_rows(label, measured, images=500, forward_flops=10**9, peak=peak, shared={"batch": 50, "device": "cpu"})
    made += [failed_row(label, "step graph", "ours", "needs a GPU"), peak_row(label, "matrix product", peak,
                                                                             {"precision": "bf16"})]
    machine = {"hardware": MACHINE["hardware"] | {"gpu": gpu}} if gpu else MACHINE
    return [row | {"environment": machine, "command": "c"} for row in made]


def test_the_section_has_a_line_per_way_and_our_fastest_in_bold():
    lines = summary(rows()).splitlines()
    assert lines[0] == f"| {' | '.join(HEAD)} |" and lines[1].count("---") == len(HEAD)
    assert "| `net` | Cadence, stream, eager | 100 | 0.2 | 5.00 | 2.00 | 1.60 | 1.0% | 30% |" in lines
    assert "| `net` | **Cadence, stream, compile** | 125 | 0.25 | 6.25 | 2.50 | 2.00 | 0.0% | 38% |" in lines
    assert "| `net` | a: the author's style of loop | 20 | 0.04 |  |  |  |  | 6% |" in lines
    assert "| `net` | the step alone, eager | 101 | 0.202 |  |  |  |  | 30% |" in lines
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1 and len(table) == 2 + 7 + 1


def test_failures_left_out_operations_and_the_machine_are_listed():
    text = summary(rows())
    assert "| `net` | Cadence, step graph | not timed: needs a GPU |" in text
    assert text.endswith("`net` on P, 2 cores, bf16, batch 50, 3 rounds in turns; a large matrix product there: "
                         "1 TFLOP/s; c without blur(kernel_px=3).\n")


def test_each_recipe_has_its_own_machine_and_its_own_best():
    text = summary(rows() + rows("other", gpu="G"))
    assert text.count("**Cadence, stream, compile**") == 2
    assert "`net` on P" in text and "`other` on G" in text


def test_a_recipe_without_figures_is_still_listed():
    text = summary([row for row in rows() if row["failed"]])
    assert "not timed: needs a GPU" in text and text.endswith("`net` on P, 2 cores.\n")


def test_the_screen_shows_the_same(capsys):
    show(rows())
    shown = capsys.readouterr().out
    assert "Cadence, stream, compile" in shown and "12.50" in shown and "6.25" in shown
    assert "Cadence, step graph: not timed: needs a GPU" in shown and "leaves out blur(kernel_px=3)" in shown
    assert "matrix product: 1 TFLOP/s bf16" in shown


@pytest.mark.parametrize("labels", [["net"], ["net", "other"]])
def test_the_picture_has_bars_for_each_recipe(labels, tmp_path):
    draw([row for label in labels for row in rows(label)], tmp_path / "p.png")
    pixels = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).reshape(-1, 3)
    for colour in ((0, 0x72, 0xB2), (0x56, 0xB4, 0xE9), (0x99, 0x99, 0x99)):
        assert (pixels == colour).all(1).sum() > 1000


def test_without_figures_there_is_no_picture(tmp_path):
    draw([row for row in rows() if row["failed"]], tmp_path / "p.png")
    assert not list(tmp_path.iterdir())


def test_rows_that_were_added_later_stand_with_their_kind():
    first, *rest = rows()
    ways = [line.split(" | ")[1] for line in summary([*rest, first]).splitlines() if line.startswith("| `net`")]
    assert ways[:2] == ["**Cadence, stream, compile**", "Cadence, stream, eager"] and ways[2].startswith("the step")
