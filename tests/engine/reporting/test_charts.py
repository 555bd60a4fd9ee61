import json
import math

import numpy as np

from engine.reporting import charts


def epochs(count, watched=("validation",)):
    return [{"epoch": epoch, "lr": 0.1 / (epoch + 1), "train_loss": 4.0 / (epoch + 1), "train_top1": 0.5,
             "train_s": 2.0, "feed_wait_s": 0.5, "images_per_s": 100.0 + epoch,
             **{f"{split}_{key}": value if split in watched else None
                for split in ("validation", "test") for key, value in (("loss", 5.0), ("top1", 0.4))}}
            for epoch in range(count)]


def traces(figure):
    return {(trace.name, trace.xaxis or "x"): trace for trace in figure.data}


def test_curves_hold_each_split_and_share_their_epochs():
    drawn = traces(charts.curves_chart(epochs(3)))
    assert set(drawn) == {("train", "x"), ("validation", "x"), ("train", "x2"), ("validation", "x2"),
                          ("train - validation", "x4"), ("learning rate", "x3")}
    assert drawn["train", "x"].x == (1, 2, 3) and drawn["validation", "x2"].y == (40.0,) * 3
    assert np.allclose(drawn["train - validation", "x4"].y, 10)
    layout = charts.curves_chart(epochs(3)).layout
    matches = [axis.matches for axis in (layout.xaxis, layout.xaxis2, layout.xaxis3, layout.xaxis4)]
    assert sorted(matches, key=str) == [None, "x3", "x3", "x3"]


def test_a_gap_that_was_not_measured_is_said():
    figure = charts.curves_chart(epochs(1, ()))
    assert "not measured in this run" in [note.text for note in figure.layout.annotations]


def test_one_epoch_has_one_tick_and_a_value_alone_is_told_from_0():
    history = epochs(1)
    history[0]["lr"] = 0.001
    for figure in (charts.curves_chart(history), charts.comparison_chart({"a": history}), charts.speed_chart(history)):
        assert (figure.layout.xaxis.dtick, figure.layout.xaxis.range) == (1, (0.5, 1.5))
    for figure in (charts.curves_chart(history), charts.comparison_chart({"a": history})):
        assert figure.layout.yaxis3.range == (0, 0.002)
    two = charts.curves_chart(epochs(2)).layout
    assert (two.xaxis.dtick, two.xaxis.range, two.yaxis3.range) == (1, None, None)
    assert charts.curves_chart(epochs(60)).layout.xaxis.dtick is None
    assert charts.comparison_chart({"a": [], "b": []}).layout.xaxis.range is None


def test_in_a_narrow_window_the_panels_are_below_each_other():
    for figure in (charts.curves_chart(epochs(3)), charts.comparison_chart({"a": epochs(3)})):
        narrow, wide = figure.layout.meta["narrow"], figure.layout.meta["wide"]
        axes = ("yaxis", "yaxis2", "yaxis3", "yaxis4")
        domains = [narrow[f"{axis}.domain"] for axis in axes]
        assert domains[0][1] == 1 and abs(domains[-1][0]) < 1e-9
        assert all(upper[0] > lower[1] for upper, lower in zip(domains, domains[1:], strict=False))
        assert set(narrow) == set(wide) and narrow["height"] > wide["height"] == figure.layout.height
        assert [tuple(wide[f"{axis}.domain"]) for axis in axes] == [figure.layout[axis].domain for axis in axes]


def test_values_not_measured_are_passed_over_and_ones_not_finite_break_the_line():
    history = epochs(4)
    history[0]["train_loss"], history[1]["train_loss"], history[2]["train_loss"] = None, math.nan, math.inf
    assert charts.drawable(history, [row["train_loss"] for row in history]) == ([2, 3, 4], [None, None, 1.0])
    assert charts.drawable(history, [None] * 4) is None
    json.loads(charts.curves_chart(history).to_json(), parse_constant=lambda word: 1 / 0)


def test_classes_stand_worst_first_and_empty_ones_last():
    figure = charts.per_class_chart(np.array([0.5, math.nan, 0.25]), np.array([4, 0, 8]), ["a", "none", "<b>"])
    bar = figure.data[0]
    assert bar.y == ("&lt;b&gt;", "a", "none") and list(bar.x) == [25, 50, 0]
    assert bar.text == ("25.0", "50.0", "no images") and list(bar.customdata) == [8, 4, 0]


def test_confusion_is_coloured_by_the_share_and_tells_names_and_counts():
    figure = charts.confusion_chart(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 4]]), ["cat", "<i>", "dog"])
    heat = figure.data[0]
    assert heat.y[1] == heat.x[1] == "&lt;i&gt;"
    assert np.allclose(np.square(heat.z[0]), [75, 25, 0], atol=0.1) and np.isnan(heat.z[1]).all()
    assert heat.customdata[0, 1].tolist() == [1, 25] and "%{y}" in heat.hovertemplate
    assert figure.layout.yaxis.autorange == "reversed"


def test_every_one_of_100_classes_is_named_and_equal_names_stay_apart():
    names = [f"class_{number}" for number in range(99)] + ["class_0"]
    figure = charts.confusion_chart(np.eye(100, dtype=np.int64), names)
    assert len(figure.layout.xaxis.ticktext) == 100 and len(set(figure.data[0].x)) == 100
    assert figure.layout.xaxis.ticktext[99] == "class_0"


def test_calibration_leaves_empty_bins_out():
    figure = charts.calibration_chart(np.array([0, 5, 10]), np.array([math.nan, 0.5, 0.9]),
                                      np.array([math.nan, 0.6, 0.8]))
    drawn = {trace.name: trace for trace in figure.data}
    assert np.allclose(drawn["this network"].x, [60, 80]) and np.allclose(drawn["this network"].y, [50, 90])
    assert list(drawn["images"].y) == [0, 5, 10]


def test_speed_is_images_a_second_and_the_share_that_waited():
    images, waited = charts.speed_chart(epochs(2)).data
    assert images.y == (100, 101) and waited.y == (25, 25)


def test_a_comparison_holds_every_run_in_one_colour_and_once_in_the_legend():
    histories = {"first": epochs(3), "<second>": epochs(2, ("test",)), "no epochs": []}
    figure = charts.comparison_chart(histories)
    legend = [trace for trace in figure.data if trace.showlegend is not False]
    assert [trace.name for trace in legend] == ["first", "&lt;second&gt;", "no epochs"]
    assert len({trace.line.color for trace in legend}) == 3
    over_time = [trace for trace in figure.data if trace.xaxis == "x4" and trace.name == "first"]
    assert [trace.x for trace in over_time] == [(2, 4, 6)] * 2
    assert {trace.line.dash for trace in over_time} == {"dot", "solid"}
