"""Rows from fake timings: rates, ratios by round, data cost and shares, exactly."""

import pytest

from benchmarks.common.timing import Timings
from benchmarks.throughput.epoch_rows import KEYS, Measurement, failed_row, make_rows, peak_row


def planted():
    """Seconds per image by round; a round that is slow for all cancels in the ratios."""
    return {
        "stream, eager": Measurement("ours", Timings((0.01, 0.02, 0.01)), {"feed": "stream", "step": "eager"}),
        "resident, eager": Measurement("ours", Timings((0.02, 0.04, 0.04)), {"feed": "resident", "step": "eager"}),
        "stream, graph": Measurement("ours", Timings((0.005, 0.01, 0.005)), {"feed": "stream", "step": "graph"}),
        "step alone, eager": Measurement("step", Timings((0.009, 0.018, 0.008)), {"step": "eager"}),
        "step alone, graph": Measurement("step", Timings((0.004, 0.008, 0.004)), {"step": "graph"}),
        "peer a": Measurement("a", Timings((0.05, 0.1, 0.06)), {"left_out": "blur"}),
        "peer b": Measurement("b", Timings((0.03, 0.06, 0.03))),
        "peer b, compiled": Measurement("b", Timings((0.02, 0.05, 0.02))),
        "peer c": Measurement("c", Timings((0.04, 0.08, 0.04))),
    }


def rows_of(measured):
    found = make_rows("net x", measured, images=500, forward_flops=10**9, peak=Timings((1e12, 0.5e12, 1e12)),
                      shared={"batch": 50, "device": "cpu"})
    return {row["way"]: row for row in found}


def test_ratios_are_by_round_and_to_the_fastest_of_a_kind():
    row = rows_of(planted())["stream, eager"]
    assert row["ratio_a"] == {"median": 5.0, "min": 5.0, "max": 6.0, "n": 3}
    assert row["ratio_b"] == {"median": 2.0, "min": 2.0, "max": 2.5, "n": 3}
    assert row["ratio_c"] == {"median": 4.0, "min": 4.0, "max": 4.0, "n": 3}


def test_data_cost_is_against_the_step_alone_of_the_same_mode():
    rows = rows_of(planted())
    assert rows["stream, eager"]["data_cost"] == pytest.approx({"median": 0.1, "min": 0.1, "max": 0.2, "n": 3})
    assert rows["resident, eager"]["data_cost"] == pytest.approx({"median": 0.55, "min": 0.55, "max": 0.8, "n": 3})
    assert rows["stream, graph"]["data_cost"] == pytest.approx({"median": 0.2, "min": 0.2, "max": 0.2, "n": 3})


def test_rates_epochs_and_arithmetic():
    rows = rows_of(planted())
    assert rows["stream, eager"]["images_per_second"] == {"median": 100.0, "min": 50.0, "max": 100.0, "n": 3}
    assert rows["stream, eager"]["epochs_per_second"] == {"median": 0.2, "min": 0.1, "max": 0.2, "n": 3}
    # Three forward passes of a GFLOP per image, against a product that was slow in the second round as well.
    assert rows["stream, eager"]["model_tflops"] == {"median": 0.3, "min": 0.15, "max": 0.3, "n": 3}
    assert rows["stream, eager"]["share_of_peak"] == {"median": 0.3, "min": 0.3, "max": 0.3, "n": 3}
    assert rows["peer c"]["share_of_peak"]["median"] == 0.075


def test_only_this_engine_has_ratios_and_every_row_has_every_key():
    rows = rows_of(planted())
    for way, row in rows.items():
        assert tuple(row) == KEYS and row["name"] == f"net x, {way}" and (row["batch"], row["device"]) == (50, "cpu")
        compared = [row[key] is not None for key in ("ratio_a", "ratio_b", "ratio_c", "data_cost")]
        assert compared == [row["kind"] == "ours"] * 4
    assert rows["peer a"]["left_out"] == "blur"


def test_a_peer_that_is_missing_leaves_its_ratio_out():
    measured = {way: each for way, each in planted().items() if each.kind != "c"}
    row = rows_of(measured)["stream, eager"]
    assert row["ratio_c"] is None and row["ratio_b"]["median"] == 2.0


def test_other_rows_have_every_key_too():
    peak = peak_row("net x", "matrix product", Timings((2e12, 1e12, 3e12)), {"precision": "bf16"})
    assert peak["peak_tflops"] == {"median": 2.0, "min": 1.0, "max": 3.0, "n": 3} and tuple(peak) == KEYS
    failed = failed_row("net x", "step graph", "ours", "graph needs a GPU")
    assert tuple(failed) == KEYS and failed["failed"] == "graph needs a GPU" and failed["images_per_second"] is None
