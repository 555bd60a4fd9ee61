"""The report's charts over all classes, by plotly: accuracy of each, and the confusion matrix."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from engine.plots.bars import share_texts, worst_first
from engine.plots.confusion import COLOUR_TICKS, MOST_CLASSES_WITH_NUMBERS, shares_percent
from engine.plots.figure import cut
from engine.plots.figure_spec import BLUE
from engine.reporting.panel_charts import LAYOUT, plain


def per_class_chart(per_class: np.ndarray, totals: np.ndarray, class_names: Sequence[str]) -> go.Figure:
    """Top-1 of each class in percent, worst at the top; totals int64 (C,): its images."""
    order, names = worst_first(per_class), unique(class_names)
    shares = 100 * per_class[order]
    figure = go.Figure(go.Bar(
        x=np.nan_to_num(shares), y=[names[i] for i in order], orientation="h", marker_color=BLUE,
        text=share_texts(shares), textposition="outside", customdata=totals[order], cliponaxis=False,
        hovertemplate="%{y}<br>%{text} % of %{customdata} images<extra></extra>"))
    figure.update_xaxes(title_text="top-1 accuracy (%)", range=(0, 107), side="top", dtick=20)
    figure.update_yaxes(**class_ticks([class_names[i] for i in order], [names[i] for i in order]),
                        autorange="reversed")
    return figure.update_layout(**LAYOUT, height=110 + 16 * len(order), bargap=0.25)


def confusion_chart(matrix: np.ndarray, class_names: Sequence[str]) -> go.Figure:
    """matrix int64 (C, C), rows true, columns predicted: coloured by the true class's share, counts on hover."""
    names, count = unique(class_names), len(matrix)
    shares = shares_percent(matrix)
    customdata = np.dstack([matrix, np.nan_to_num(shares).round(2)])
    # Colours follow the square root: linear ones would hide the confusions of 1 % that matter.
    figure = go.Figure(go.Heatmap(
        z=np.sqrt(shares).round(3), x=names, y=names, customdata=customdata, colorscale="Blues", zmin=0, zmax=10,
        xgap=0.5, ygap=0.5, hoverongaps=False, colorbar={
            "title": {"text": "share of the true class (%)", "side": "right"},
            "tickvals": np.sqrt(COLOUR_TICKS), "ticktext": list(COLOUR_TICKS)},
        hovertemplate="true: %{y}<br>predicted: %{x}<br>%{customdata[0]} images, %{customdata[1]} % of the true class"
                      "<extra></extra>"))
    if count <= MOST_CLASSES_WITH_NUMBERS:
        figure.update_traces(text=matrix, texttemplate="%{text}")
    side_px, ticks = min(1150, max(480, 10 * count + 150)), class_ticks(class_names, names)
    figure.update_xaxes(**ticks, title_text="predicted class", tickangle=-90, side="bottom", constrain="domain")
    figure.update_yaxes(**ticks, title_text="true class", autorange="reversed", scaleanchor="x", constrain="domain")
    return figure.update_layout(**{**LAYOUT, "margin": {"t": 20}}, height=side_px, width=min(1110, side_px + 120),
                                plot_bgcolor="#dddddd")


def unique(class_names: Sequence[str]) -> list[str]:
    """The names as categories of an axis: as plotly shows them, numbered if two are equal."""
    shown = [plain(name) for name in class_names]
    return [name if shown.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(shown)]


def class_ticks(class_names: Sequence[str], categories: list[str]) -> dict:
    """An axis' settings that show every class's name, shortened to fit; `categories` are `unique` names."""
    return {"type": "category", "tickmode": "array", "tickvals": categories, "showgrid": False,
            "ticktext": [plain(cut(name)) for name in class_names],
            "tickfont": {"size": 12 if len(categories) <= MOST_CLASSES_WITH_NUMBERS else 8}}
