import math

import numpy as np

from engine.reporting.confusion_charts import confusion_chart, per_class_chart


def test_classes_stand_worst_first_and_empty_ones_last():
    figure = per_class_chart(np.array([0.5, math.nan, 0.25]), np.array([4, 0, 8]), ["a", "none", "<b>"])
    bar = figure.data[0]
    assert bar.y == ("&lt;b&gt;", "a", "none") and list(bar.x) == [25, 50, 0]
    assert bar.text == ("25.0", "50.0", "no images") and list(bar.customdata) == [8, 4, 0]


def test_confusion_is_coloured_by_the_share_and_shows_names_and_counts():
    figure = confusion_chart(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 4]]), ["cat", "<i>", "dog"])
    heat = figure.data[0]
    assert heat.y[1] == heat.x[1] == "&lt;i&gt;"
    assert np.allclose(np.square(heat.z[0]), [75, 25, 0], atol=0.1) and np.isnan(heat.z[1]).all()
    assert heat.customdata[0, 1].tolist() == [1, 25] and "%{y}" in heat.hovertemplate
    assert figure.layout.yaxis.autorange == "reversed"


def test_every_one_of_100_classes_is_named_and_equal_names_stay_apart():
    names = [f"class_{number}" for number in range(99)] + ["class_0"]
    figure = confusion_chart(np.eye(100, dtype=np.int64), names)
    assert len(figure.layout.xaxis.ticktext) == 100 and len(set(figure.data[0].x)) == 100
    assert figure.layout.xaxis.ticktext[99] == "class_0"
