import numpy as np
import pytest
from PIL import Image

from engine.common.errors import EngineError
from engine.plots.sweep import Measure, draw_importance
from tests.engine.plots.drawing import figure_of

SHARES = {"schedule.lr": 0.6, "train.batch": 0.3, "optim.name": 0.1}
POINTS = [({"schedule.lr": 0.1, "train.batch": 128, "optim.name": "sgd"}, 0.5),
          ({"schedule.lr": 0.01, "train.batch": 64, "optim.name": "adamw"}, 0.4),
          ({"schedule.lr": 1.0, "train.batch": 256, "optim.name": "sgd"}, 0.7),
          ({"schedule.lr": 0.5, "train.batch": 64}, 0.6)]
SCALES = {"schedule.lr": "log", "train.batch": "choices", "optim.name": "choices"}


def sweep_figure(shares=SHARES, points=POINTS):
    return figure_of(draw_importance, shares, points, SCALES, title="a sweep")


def test_the_picture_is_written_whole(tmp_path):
    path = draw_importance(SHARES, POINTS, SCALES, tmp_path / "importance.png", r"broken $math \frac{ in a title")
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert min(pixels.shape[:2]) > 400 and (np.ptp(pixels, axis=2) > 60).sum() > 500


def test_the_bars_are_the_shares_the_largest_on_top():
    bars = sweep_figure().axes[0]
    assert [bar.get_width() for bar in bars.patches] == [60, 30, 10] and bars.yaxis_inverted()
    assert [text.get_text() for text in bars.texts] == ["60 %", "30 %", "10 %"]
    assert "4 finished trials" in bars.get_title(loc="left")


def panel(figure, at):
    axes = figure.axes[1 + at]
    return {points.get_label(): points.get_offsets().tolist() for points in axes.collections}


def test_each_setting_has_a_panel_with_the_best_and_the_recipes_own_apart():
    figure = sweep_figure()
    assert [axes.get_xlabel() for axes in figure.axes[1:]] == list(SHARES)
    assert panel(figure, 0) == {"the recipe's own": [[0.1, 50]], "the best": [[1.0, 70]],
                                "other trials": [[0.01, 40], [0.5, pytest.approx(60)]]}
    assert figure.axes[1].get_xscale() == "log"


def test_choices_stand_side_by_side_and_a_trial_without_the_setting_is_left_out():
    figure = sweep_figure()
    assert [tick.get_text() for tick in figure.axes[2].get_xticklabels()] == ["64", "128", "256"]
    assert panel(figure, 1)["the recipe's own"] == [[1, 50]] and panel(figure, 1)["the best"] == [[2, 70]]
    assert panel(figure, 2)["other trials"] == [[1, 40]]


def test_the_recipes_own_may_be_the_best():
    assert set(panel(sweep_figure(points=[({"schedule.lr": 0.1}, 0.9), *POINTS]), 0)) == {
        "the recipe's own, the best", "other trials"}


def test_the_lowest_loss_is_the_best_and_is_drawn_as_it_is():
    figure = figure_of(draw_importance, SHARES, POINTS, SCALES, title="a sweep",
                       measure=Measure("validation loss", lower=True, share=False))
    assert panel(figure, 0)["the best"] == [[0.01, 0.4]] and panel(figure, 0)["the recipe's own"] == [[0.1, 0.5]]
    assert figure.axes[1].get_ylabel() == "validation loss"
    assert sweep_figure().axes[1].get_ylabel() == "validation top-1 (%)"


def test_without_the_recipes_own_none_is_shown_as_it():
    for points in (POINTS, [POINTS[2], *POINTS[:2]]):
        shown = panel(figure_of(draw_importance, SHARES, points, SCALES, title="a sweep", has_own=False), 0)
        assert set(shown) == {"the best", "other trials"} and shown["the best"] == [[1.0, 70]]


def test_many_settings_and_long_choices_stay_inside_the_figure():
    shares = {f"section.setting_number_{at}": 1 / 15 for at in range(15)}
    points = [(dict.fromkeys(shares, f"resize(px=40), crop(px=32), flip(), number {trial}"), trial / 10)
              for trial in range(6)]
    figure = figure_of(draw_importance, shares, points, dict.fromkeys(shares, "choices"), title="many")
    figure.canvas.draw()
    assert len(figure.axes) == 1 + 12
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(EngineError, match="cannot be written"):
        draw_importance(SHARES, POINTS, SCALES, tmp_path / "absent" / "i.png", "t")
