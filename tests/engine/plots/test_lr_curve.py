import numpy as np
import pytest
from matplotlib import _pylab_helpers
from PIL import Image

from engine.common.errors import EngineError
from engine.plots.lr_curve import draw_lr_curve
from tests.engine.plots.drawing import figure_of

RATES = np.geomspace(1e-6, 10, 100)
LOSSES = [2.3 - 0.01 * i if i < 90 else 1.4 + 2.0 ** (i - 90) for i in range(100)]
MARKS = {"steepest fall": 0.01, "careful": 0.1, "own": 1e-3}


def lr_figure(losses=LOSSES, marks=MARKS, rates=RATES):
    return figure_of(draw_lr_curve, rates, losses, losses, marks, title="a test")


def test_the_picture_is_written_whole(tmp_path):
    path = draw_lr_curve(RATES, LOSSES, LOSSES, MARKS, tmp_path / "lr.png", r"broken $math \frac{ in a title")
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert min(pixels.shape[:2]) > 400 and (np.ptp(pixels, axis=2) > 60).sum() > 500
    assert [entry.name for entry in tmp_path.iterdir()] == ["lr.png"]
    assert not _pylab_helpers.Gcf.figs, "pyplot's global state was touched"


def test_rates_lie_on_a_logarithmic_axis_and_each_mark_stands_at_its_rate():
    axes = lr_figure().axes[0]
    assert axes.get_xscale() == "log"
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert sorted(lines) == sorted(["each step", "smoothed", "steepest fall 0.01", "careful 0.1", "own 0.001"])
    assert list(lines["smoothed"].get_xdata()) == list(RATES) and list(lines["smoothed"].get_ydata()) == LOSSES
    assert list(lines["steepest fall 0.01"].get_xdata()) == [0.01, 0.01]
    looks = {(line.get_color(), line.get_linestyle()) for line in lines.values()}
    assert len(looks) == 5
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(lines)


def test_a_loss_that_explodes_does_not_press_the_rest_flat():
    bottom, top = lr_figure().axes[0].get_ylim()
    assert bottom < min(LOSSES) and 2.3 < top < 4
    bottom, top = lr_figure([*LOSSES[:-1], 1e30]).axes[0].get_ylim()
    assert top < 4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("losses", [[2.3] * 100, [0.0] * 100], ids=["flat", "zero"])
def test_a_flat_loss_has_room_around_it(losses):
    bottom, top = lr_figure(losses).axes[0].get_ylim()
    assert bottom < losses[0] < top


def test_the_legend_lies_inside_the_figure():
    figure = lr_figure(marks={"a tenth of the lowest's": 0.1, "steepest fall": 0.01, "the recipe's own": 0.02})
    figure.canvas.draw()
    box = figure.axes[0].get_legend().get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(EngineError, match="cannot be written"):
        draw_lr_curve(RATES, LOSSES, LOSSES, MARKS, tmp_path / "absent" / "lr.png", "t")
