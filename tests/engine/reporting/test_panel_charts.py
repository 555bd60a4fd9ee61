import json
import math

import numpy as np

from engine.plots.bars import calibration_spec, speed_spec
from engine.plots.curves import comparison_spec, overview_spec
from engine.reporting.panel_charts import chart


def epochs(count, watched=("validation",)):
    return [{"epoch": epoch, "lr": 0.1 / (epoch + 1), "train_loss": 4.0 / (epoch + 1), "train_top1": 0.5,
             "train_s": 2.0, "feed_wait_s": 0.5, "images_per_s": 100.0 + epoch,
             **{f"{split}_{key}": value if split in watched else None
                for split in ("validation", "test") for key, value in (("loss", 5.0), ("top1", 0.4))}}
            for epoch in range(count)]


def curves_chart(history):
    return chart(overview_spec(history))


def comparison_chart(histories):
    return chart(comparison_spec(histories))


def traces(figure):
    return {(trace.name, trace.xaxis or "x"): trace for trace in figure.data}


def test_curves_hold_each_split_and_share_their_epochs():
    drawn = traces(curves_chart(epochs(3)))
    assert set(drawn) == {("train", "x"), ("validation", "x"), ("train", "x2"), ("validation", "x2"),
                          ("train - validation", "x4"), ("learning rate", "x3")}
    assert drawn["train", "x"].x == (1, 2, 3) and drawn["validation", "x2"].y == (40.0,) * 3
    assert np.allclose(drawn["train - validation", "x4"].y, 10)
    layout = curves_chart(epochs(3)).layout
    matches = [axis.matches for axis in (layout.xaxis, layout.xaxis2, layout.xaxis3, layout.xaxis4)]
    assert sorted(matches, key=str) == [None, "x", "x", "x"]


def test_a_gap_that_was_not_measured_is_shown_as_such():
    figure = curves_chart(epochs(1, ()))
    assert "not measured in this run" in [note.text for note in figure.layout.annotations]


def test_one_epoch_has_one_tick_and_a_single_value_is_not_drawn_as_0():
    history = epochs(1)
    history[0]["lr"] = 0.001
    for figure in (curves_chart(history), comparison_chart({"a": history}), chart(speed_spec(history))):
        assert (figure.layout.xaxis.dtick, figure.layout.xaxis.range) == (1, (0.5, 1.5))
    for figure in (curves_chart(history), comparison_chart({"a": history})):
        assert figure.layout.yaxis3.range == (0, 0.002)
    two = curves_chart(epochs(2)).layout
    assert (two.xaxis.dtick, two.xaxis.range, two.yaxis3.range) == (1, None, None)
    assert curves_chart(epochs(60)).layout.xaxis.dtick is None
    assert comparison_chart({"a": [], "b": []}).layout.xaxis.range is None


def test_in_a_narrow_window_the_panels_are_below_each_other():
    for figure in (curves_chart(epochs(3)), comparison_chart({"a": epochs(3)})):
        narrow, wide = figure.layout.meta["narrow"], figure.layout.meta["wide"]
        axes = ("yaxis", "yaxis2", "yaxis3", "yaxis4")
        domains = [narrow[f"{axis}.domain"] for axis in axes]
        assert domains[0][1] == 1 and abs(domains[-1][0]) < 1e-9
        assert all(upper[0] > lower[1] for upper, lower in zip(domains, domains[1:], strict=False))
        assert set(narrow) == set(wide) and narrow["height"] > wide["height"] == figure.layout.height
        assert [tuple(wide[f"{axis}.domain"]) for axis in axes] == [figure.layout[axis].domain for axis in axes]


def test_calibration_leaves_empty_bins_out():
    figure = chart(calibration_spec(np.array([0, 5, 10]), np.array([math.nan, 0.5, 0.9]),
                                    np.array([math.nan, 0.6, 0.8]), 0.1))
    drawn = {trace.name: trace for trace in figure.data}
    assert np.allclose(drawn["this network"].x, [60, 80]) and np.allclose(drawn["this network"].y, [50, 90])
    assert drawn["images"].hovertext == ("0 images", "5 images", "10 images")
    assert np.allclose(drawn["images"].y, [0, 100 / 3, 200 / 3])


def test_speed_is_images_per_second_and_the_share_that_waited():
    images, waited = chart(speed_spec(epochs(2))).data
    assert images.y == (100, 101) and waited.y == (25, 25)


def test_a_comparison_holds_every_run_in_one_colour_and_once_in_the_legend():
    histories = {"first": epochs(3), "<second>": epochs(2, ("test",)), "no epochs": []}
    figure = comparison_chart(histories)
    legend = [trace for trace in figure.data if trace.showlegend is not False]
    assert [trace.name for trace in legend] == ["first", "&lt;second&gt;", "no epochs"]
    assert len({trace.line.color for trace in legend}) == 3
    over_time = [trace for trace in figure.data if trace.xaxis == "x4" and trace.name == "first"]
    assert [trace.x for trace in over_time] == [(2, 4, 6)] * 2
    assert {trace.line.dash for trace in over_time} == {"dot", "solid"}


def test_a_value_that_is_not_finite_is_null_in_the_page():
    history = epochs(4)
    history[1]["train_loss"], history[2]["train_loss"] = math.nan, math.inf
    json.loads(curves_chart(history).to_json(), parse_constant=lambda word: 1 / 0)
