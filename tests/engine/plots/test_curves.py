import math

import numpy as np
import pytest
from matplotlib import _pylab_helpers
from PIL import Image

from engine.common.errors import EngineError
from engine.plots.curves import comparison_figure, curve_panels, draw_curves, measured, overview_spec
from engine.plots.figure import draw
from engine.plots.figure_spec import FigureSpec


def epochs(count, watched=("validation",)):
    rows = []
    for epoch in range(count):
        row = {"epoch": epoch, "lr": 0.1 / (epoch + 1), "train_loss": 4.0 / (epoch + 1), "train_top1": 0.5}
        for split in ("validation", "test"):
            seen = split in watched
            row[f"{split}_loss"] = 5.0 / (epoch + 1) if seen else None
            row[f"{split}_top1"] = 0.4 if seen else None
        rows.append({**row, "train_s": 1.0, "feed_wait_s": 0.1, "images_per_s": 100.0})
    return rows


def single_figure(name, history, title):
    return draw(FigureSpec([curve_panels(history)[name]]), title)


def lines_of(figure):
    return {line.get_label(): line for line in figure.axes[0].get_lines() if not line.get_label().startswith("_")}


def drawn_texts(axes):
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("count, watched", [(1, ()), (1, ("test",)), (200, ("validation", "test"))])
def test_five_pictures_are_written_whole(tmp_path, count, watched):
    folder = tmp_path / "run" / "plots"
    paths = draw_curves(epochs(count, watched), folder, "a run")
    assert [path.name for path in paths] == ["loss.png", "accuracy.png", "learning_rate.png",
                                             "generalisation_gap.png", "overview.png"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in paths)
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert min(pixels.shape[:2]) > 400 and pixels.std() > 5
        if path.name != "generalisation_gap.png" or watched:
            coloured = np.ptp(pixels.astype(int), axis=2) > 60
            assert coloured.sum() > 20, f"{path.name} holds no coloured line"
    assert not _pylab_helpers.Gcf.figs, "pyplot's global state was touched"


def test_loss_holds_each_watched_split_and_nothing_else():
    lines = lines_of(single_figure("loss", epochs(4, ("test",)), "t"))
    assert sorted(lines) == ["test", "train"]
    assert list(lines["test"].get_xdata()) == [1, 2, 3, 4]
    assert list(lines["test"].get_ydata()) == [5.0, 2.5, 5.0 / 3, 1.25]


def test_accuracy_is_in_percent_and_gap_in_percentage_points():
    figure = single_figure("accuracy", epochs(3), "t")
    assert "%" in figure.axes[0].get_ylabel()
    assert list(lines_of(figure)["validation"].get_ydata()) == [40.0] * 3
    gap = lines_of(single_figure("generalisation_gap", epochs(3), "t"))["train - validation"]
    assert np.allclose(gap.get_ydata(), 10.0)


def test_splits_and_epochs_differ_without_colour():
    lines = lines_of(single_figure("loss", epochs(3, ("validation", "test")), "t"))
    assert len({line.get_linestyle() for line in lines.values()}) == 3
    assert len({line.get_color() for line in lines.values()}) == 3


def test_a_value_not_measured_is_passed_over_and_one_not_finite_breaks_the_line():
    history = epochs(5)
    history[1]["validation_loss"] = None
    history[1]["train_loss"], history[3]["train_loss"] = math.nan, math.inf
    lines = lines_of(single_figure("loss", history, "t"))
    assert list(lines["validation"].get_xdata()) == [1, 3, 4, 5]
    train = lines["train (not finite in 2 of 5 epochs)"]
    assert list(np.isnan(train.get_ydata())) == [False, True, False, True, False]


def test_a_point_between_breaks_is_a_dot_where_lines_have_none():
    history = epochs(40)
    history[10]["train_loss"] = history[12]["train_loss"] = math.nan
    train = next(line for name, line in lines_of(single_figure("loss", history, "t")).items() if "train" in name)
    assert train.get_markevery() == [11]


def test_a_panel_without_values_says_so():
    figure = single_figure("generalisation_gap", epochs(3, ()), "t")
    assert drawn_texts(figure.axes[0]) == ["not measured in this run"]
    assert not len(figure.axes[0].get_xticks())


@pytest.mark.parametrize("count", [1, 2, 7, 200])
def test_epoch_ticks_are_whole(count):
    axes = single_figure("loss", epochs(count), "t").axes[0]
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert 1 <= len(ticks) <= 12
    assert all(tick == int(tick) for tick in ticks)


def test_overview_has_the_four_panels():
    figure = draw(overview_spec(epochs(3, ("validation", "test"))), "t")
    panels = curve_panels(epochs(3))
    assert list(panels) == ["loss", "accuracy", "learning_rate", "generalisation_gap"]
    assert [axes.get_ylabel() for axes in figure.axes] == [panel.y_label for panel in panels.values()]


@pytest.mark.parametrize("broken", [False, True])
def test_nothing_overlaps_in_the_overview(broken):
    history = epochs(200, ("validation", "test"))
    if broken:
        for split in ("train", "validation", "test"):
            history[100][f"{split}_loss"] = math.nan
    figure = draw(overview_spec(history), "a long title " * 20)
    figure.canvas.draw()
    boxes = [figure._suptitle.get_window_extent()]
    for axes in figure.axes:
        legend = axes.get_legend()
        assert axes.get_position().width > 0.36, "the legend leaves its panel too little room"
        boxes += [axes.get_window_extent(), axes.xaxis.label.get_window_extent(), axes.yaxis.label.get_window_extent()]
        boxes.append(legend.get_window_extent() if legend else axes.title.get_window_extent())
        for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
            shown = [tick.get_window_extent() for tick in ticks]
            assert not any(one.overlaps(other) for one, other in zip(shown, shown[1:], strict=False))
    for i, box in enumerate(boxes):
        # Half a pixel of rounding where two boxes touch is no overlap.
        assert not any(box.padded(-0.5).overlaps(other.padded(-0.5)) for other in boxes[:i] if other.width > 1)
        assert box.width <= 1 or (box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1)


def test_a_title_is_shown_unchanged():
    single_figure("loss", epochs(2), r"broken $math \frac{ in a title").canvas.draw()


def test_a_file_instead_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="cannot be written"):
        draw_curves(epochs(1), tmp_path / "file" / "plots", "t")


def compared(count, top1):
    return [{"epoch": epoch, "lr": 0.1, "train_loss": 1.0, "train_top1": 0.5, "test_loss": None, "test_top1": top1,
             "train_s": 2.0} for epoch in range(count)]


def solid(axes):
    return [line for line in axes.get_lines() if line.get_linestyle() == "-" and len(line.get_xdata())]


def test_runs_lie_over_each_other_and_each_is_in_the_legend():
    histories = {"a": compared(3, 0.4), "$b_1$": compared(2, None), "none": []}
    figure = comparison_figure(histories)
    figure.canvas.draw()
    loss, accuracy, rate, over_time = figure.axes
    assert [list(line.get_ydata()) for line in solid(accuracy)] == [[40.0] * 3]
    assert [list(line.get_xdata()) for line in solid(over_time)] == [[2, 4, 6]]
    assert not solid(loss) and len(solid(rate)) == 2
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["a", "$b_1$", "none"]
    box = legend.get_window_extent()
    assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
    assert len({line.get_color() for line in legend.get_lines()}) == 3


def test_a_value_that_is_not_finite_breaks_the_line():
    history = compared(3, 0.4)
    history[1]["test_top1"] = math.inf
    line = solid(comparison_figure({"a": history}).axes[1])[0]
    assert np.isnan(line.get_ydata()).tolist() == [False, True, False]


def test_values_not_measured_are_passed_over_and_ones_not_finite_are_none():
    values = [None, math.nan, math.inf, 1.0]
    assert measured(epochs(4), values) == ([2, 3, 4], [None, None, 1.0])
    assert measured(epochs(4), [None] * 4) == ([], [])
