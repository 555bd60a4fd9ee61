import numpy as np
import pytest
from matplotlib import _pylab_helpers
from PIL import Image

from engine.common.errors import EngineError
from engine.plots.roofline import draw_roofline
from tests.engine.plots.drawing import figure_of

PEAKS = {"bf16": 8e14, "fp32": 5e13}
BYTES_S = 4e12
POINTS = {"resnet34's step": (50.0, 6e13)}


def test_the_picture_is_written_whole(tmp_path):
    path = draw_roofline(PEAKS, BYTES_S, POINTS, tmp_path / "roofline.png", r"broken $math \frac{ in a title")
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert min(pixels.shape[:2]) > 400 and (np.ptp(pixels, axis=2) > 60).sum() > 500
    assert [entry.name for entry in tmp_path.iterdir()] == ["roofline.png"]
    assert not _pylab_helpers.Gcf.figs, "pyplot's global state was touched"


def test_each_roof_is_the_lower_of_memory_and_arithmetic_and_each_point_stands_where_it_was_measured():
    axes = figure_of(draw_roofline, PEAKS, BYTES_S, POINTS, title="t").axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    bf16, fp32, point = axes.get_lines()
    for line, level in ((bf16, 8e14), (fp32, 5e13)):
        x, y = line.get_xdata(), line.get_ydata()
        assert list(y) == pytest.approx([min(level, BYTES_S * each) for each in x])
        assert x[1] == pytest.approx(level / BYTES_S) and list(axes.get_xlim()) == pytest.approx([x[0], x[2]])
    assert (list(point.get_xdata()), list(point.get_ydata())) == ([50.0], [6e13])
    assert len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axes.get_lines()}) == 3


@pytest.mark.parametrize("point", [(1e-4, 3.0), (1e6, 8e14), (200.0, 1e17)], ids=["far left", "far right", "above"])
def test_a_point_far_off_is_in_the_figure(point):
    axes = figure_of(draw_roofline, PEAKS, BYTES_S, {"step": point}, title="t").axes[0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left < point[0] < right and bottom < point[1] < top


def test_numbers_stand_in_a_legend_that_lies_inside_the_figure_and_hides_nothing():
    points = {"a recipe of a long name, its step": (50.0, 6e13)}
    figure = figure_of(draw_roofline, PEAKS, BYTES_S, points, title="A title")
    figure.canvas.draw()
    axes = figure.axes[0]
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [
        "bf16 products 800.0 TFLOP/s, copies 4.0 TB/s", "fp32 products 50.0 TFLOP/s, copies 4.0 TB/s",
        "a recipe of a long name, its step 60.0 TFLOP/s at 50 FLOP per byte"]
    box = legend.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
    assert box.y0 >= axes.get_window_extent().y1 - 1
    labels = [text.get_window_extent() for text in legend.get_texts()]
    assert not any(a.overlaps(b) for i, a in enumerate(labels) for b in labels[i + 1:])


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(EngineError, match="cannot be written"):
        draw_roofline(PEAKS, BYTES_S, POINTS, tmp_path / "absent" / "roofline.png", "t")
