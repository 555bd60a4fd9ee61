"""The report's charts that one can zoom into and point at, by plotly: values in, figure out.

Plotly reads a little HTML in its texts; every text that comes from a user goes through `plain`.
"""

import html
import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from engine.plots.bars import waited_percent, worst_first
from engine.plots.confusion import COLOUR_TICKS, shares_percent, shortened
from engine.plots.curves import LOOKS, MOST_EPOCHS_WITH_DOTS, SPLITS, gap_of, scaled
from engine.reporting.chart_layout import lay_out

DASHES = {"-": "solid", "--": "dash", "-.": "dashdot"}
# Okabe and Ito's colours for runs over each other.
RUN_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LAYOUT = {"template": "plotly_white", "margin": {"l": 70, "r": 20, "t": 60, "b": 50}, "hoverlabel": {"align": "left"}}
LEGEND_ABOVE = {"orientation": "h", "x": 0, "y": 1.04, "yanchor": "bottom"}


def plain(text: str) -> str:
    """A user's text as plotly shows it letter for letter."""
    return html.escape(text, quote=False)


def curves_chart(history: list[dict]) -> go.Figure:
    """Loss, accuracy, learning rate and generalisation gap over the epochs; zooming into one zooms all."""
    figure = make_subplots(2, 2, shared_xaxes="all", vertical_spacing=0.12, horizontal_spacing=0.09, subplot_titles=(
        "Mean loss a sample", "Top-1 accuracy (%)", "Learning rate", "Generalisation gap (percentage points)"))
    mode = mode_of(history)

    def add(row: int, column: int, label: str, look: str, values: list[float | None], legend: bool = False) -> None:
        points = drawable(history, values)
        if points:
            line = {"color": LOOKS[look]["color"], "dash": DASHES[LOOKS[look]["linestyle"]], "width": 2}
            figure.add_scatter(x=points[0], y=points[1], mode=mode, name=label, line=line, legendgroup=look,
                               showlegend=legend, row=row, col=column, hovertemplate="epoch %{x}: %{y:.5g}")

    for split in SPLITS:
        add(1, 1, split, split, [row.get(f"{split}_loss") for row in history], legend=True)
        add(1, 2, split, split, [scaled(row.get(f"{split}_top1"), 100) for row in history])
        if split != "train":
            add(2, 2, f"train - {split}", split, [gap_of(row, f"{split}_top1") for row in history])
    add(2, 1, "learning rate", "train", [row.get("lr") for row in history])
    if not any(trace.xaxis == "x4" for trace in figure.data):
        # Without a trace plotly draws no axes.
        figure.add_scatter(x=[None], y=[None], showlegend=False, row=2, col=2)
        figure.add_annotation(text="not measured in this run", showarrow=False, x=0.5, y=0.5, xref="x4 domain",
                              yref="y4 domain", font={"color": "#555555"})
    figure.update_xaxes(title_text="epoch", row=2)
    figure.update_xaxes(showticklabels=True, tickformat="~d")
    figure.update_layout(**LAYOUT, height=720, legend={**LEGEND_ABOVE, "y": 1.06})
    return lay_out(figure, [row["epoch"] + 1 for row in history], ("xaxis", "xaxis2", "xaxis3", "xaxis4"))


def per_class_chart(per_class: np.ndarray, totals: np.ndarray, class_names: Sequence[str]) -> go.Figure:
    """Top-1 of each class in percent, worst at the top; totals int64 (C,): its images."""
    order, names = worst_first(per_class), unique(class_names)
    shares = 100 * per_class[order]
    figure = go.Figure(go.Bar(
        x=np.nan_to_num(shares), y=[names[i] for i in order], orientation="h", marker_color=LOOKS["train"]["color"],
        text=["no images" if math.isnan(share) else f"{share:.1f}" for share in shares], textposition="outside",
        customdata=totals[order], cliponaxis=False,
        hovertemplate="%{y}<br>%{text} % of %{customdata} images<extra></extra>"))
    figure.update_xaxes(title_text="top-1 accuracy (%)", range=(0, 107), side="top", dtick=20)
    figure.update_yaxes(**ticks(class_names, [names[i] for i in order], order), autorange="reversed")
    return figure.update_layout(**LAYOUT, height=110 + 16 * len(order), bargap=0.25)


def confusion_chart(matrix: np.ndarray, class_names: Sequence[str]) -> go.Figure:
    """matrix int64 (C, C), rows true, columns predicted: coloured by the true class's share, counts on pointing."""
    names, count = unique(class_names), len(matrix)
    shares = shares_percent(matrix)
    customdata = np.dstack([matrix, np.nan_to_num(shares).round(2)])
    # A square root in the colours: a confusion of 1 % is what one looks for, and linear colours would hide it.
    figure = go.Figure(go.Heatmap(
        z=np.sqrt(shares).round(3), x=names, y=names, customdata=customdata, colorscale="Blues", zmin=0, zmax=10,
        xgap=0.5, ygap=0.5, hoverongaps=False, colorbar={
            "title": {"text": "share of the true class (%)", "side": "right"},
            "tickvals": np.sqrt(COLOUR_TICKS), "ticktext": list(COLOUR_TICKS)},
        hovertemplate="true: %{y}<br>predicted: %{x}<br>%{customdata[0]} images, %{customdata[1]} % of the true class"
                      "<extra></extra>"))
    if count <= 20:
        figure.update_traces(text=matrix, texttemplate="%{text}")
    side_px = min(1150, max(480, 10 * count + 150))
    figure.update_xaxes(**ticks(class_names, names), title_text="predicted class", tickangle=-90, side="bottom",
                        constrain="domain")
    figure.update_yaxes(**ticks(class_names, names), title_text="true class", autorange="reversed",
                        scaleanchor="x", constrain="domain")
    return figure.update_layout(**{**LAYOUT, "margin": {"t": 20}}, height=side_px, width=min(1110, side_px + 120),
                                plot_bgcolor="#dddddd")


def calibration_chart(count: np.ndarray, accuracy: np.ndarray, confidence: np.ndarray) -> go.Figure:
    """The reliability curve and the number of images in each bin; arguments as `bars.calibration_figure`."""
    figure = make_subplots(2, 1, shared_xaxes=True, row_heights=(0.72, 0.28), vertical_spacing=0.06)
    there = count > 0
    figure.add_scatter(x=(0, 100), y=(0, 100), mode="lines", name="confidence is accuracy", hoverinfo="skip",
                       line={"color": "black", "dash": "dot", "width": 1}, row=1, col=1)
    figure.add_scatter(x=100 * confidence[there], y=100 * accuracy[there], mode="lines+markers", name="this network",
                       line={"color": LOOKS["train"]["color"], "width": 2}, customdata=count[there], row=1, col=1,
                       hovertemplate="confidence %{x:.1f} %<br>accuracy %{y:.1f} %<br>%{customdata} images")
    width = 100 / len(count)
    figure.add_bar(x=(np.arange(len(count)) + 0.5) * width, y=count, width=width * 0.9, name="images",
                   marker_color=LOOKS["train"]["color"], showlegend=False, row=2, col=1,
                   hovertemplate="%{y} images<extra></extra>")
    figure.update_xaxes(range=(0, 101))
    figure.update_xaxes(title_text="confidence (%)", row=2)
    figure.update_yaxes(title_text="accuracy (%)", range=(0, 102), row=1)
    figure.update_yaxes(title_text="images", row=2)
    return figure.update_layout(**LAYOUT, height=560, legend=LEGEND_ABOVE)


def speed_chart(history: list[dict]) -> go.Figure:
    """Images a second in each epoch, and what share of it training waited for data."""
    figure = make_subplots(2, 1, shared_xaxes=True, row_heights=(0.65, 0.35), vertical_spacing=0.1,
                           subplot_titles=("Images a second", "Training time spent waiting for data (%)"))
    epochs = [row["epoch"] + 1 for row in history]
    figure.add_bar(x=epochs, y=[row.get("images_per_s") for row in history], row=1, col=1,
                   marker_color=LOOKS["train"]["color"], hovertemplate="epoch %{x}: %{y:,.0f} images/s<extra></extra>")
    figure.add_bar(x=epochs, y=[waited_percent(row) for row in history], row=2, col=1,
                   marker_color=LOOKS["validation"]["color"], hovertemplate="epoch %{x}: %{y:.2f} %<extra></extra>")
    figure.update_xaxes(tickformat="~d")
    figure.update_xaxes(title_text="epoch", row=2)
    return lay_out(figure.update_layout(**LAYOUT, height=440, showlegend=False), epochs, ("xaxis", "xaxis2"))


def comparison_chart(histories: Mapping[str, list[dict]]) -> go.Figure:
    """Several runs over each other: loss, accuracy and rate over the epochs, accuracy over the training time.

    `histories`: a run's name to its epochs. Training is dotted, what was watched solid.
    """
    figure = make_subplots(2, 2, vertical_spacing=0.14, horizontal_spacing=0.09, subplot_titles=(
        "Mean loss a sample", "Top-1 accuracy (%)", "Learning rate", "Top-1 accuracy (%) over training time"))
    for number, (run, history) in enumerate(histories.items()):
        colour, mode = RUN_COLOURS[number % len(RUN_COLOURS)], mode_of(history)
        seconds = np.cumsum([row.get("train_s") or 0 for row in history]).tolist()
        look = {"name": plain(run), "legendgroup": str(number), "mode": mode}
        # A trace without points, so that a run is in the legend whatever it measured.
        figure.add_scatter(x=[None], y=[None], line={"color": colour, "width": 2}, **look)
        for split in SPLITS:
            dash = "dot" if split == "train" else "solid"
            top1s = [scaled(row.get(f"{split}_top1"), 100) for row in history]
            for row, column, values, x in (
                    (1, 1, [row.get(f"{split}_loss") for row in history], None), (1, 2, top1s, None),
                    (2, 2, top1s, seconds)):
                points = drawable(history, values, x)
                if points:
                    figure.add_scatter(
                        x=points[0], y=points[1], line={"color": colour, "dash": dash, "width": 2}, showlegend=False,
                        hovertemplate=f"{plain(run)}, {split}<br>%{{x:,.6~g}}: %{{y:.5g}}<extra></extra>", row=row,
                        col=column, **look)
        points = drawable(history, [row.get("lr") for row in history])
        if points:
            figure.add_scatter(x=points[0], y=points[1], line={"color": colour, "width": 2}, showlegend=False, row=2,
                               col=1, hovertemplate=f"{plain(run)}<br>epoch %{{x}}: %{{y:.5g}}<extra></extra>", **look)
    figure.update_xaxes(title_text="epoch", row=2, col=1)
    figure.update_xaxes(title_text="training time (s)", row=2, col=2)
    figure.update_xaxes(matches="x", row=1, col=2)
    figure.update_xaxes(matches="x", row=2, col=1)
    figure.update_layout(**LAYOUT, height=760, legend={**LEGEND_ABOVE, "y": 1.06})
    epochs = [row["epoch"] + 1 for history in histories.values() for row in history]
    return lay_out(figure, epochs, ("xaxis", "xaxis2", "xaxis3"))


def mode_of(history: list[dict]) -> str:
    """Dots where there are few epochs, so that each can be pointed at."""
    return "lines+markers" if len(history) <= MOST_EPOCHS_WITH_DOTS else "lines"


def drawable(history: list[dict], values: list[float | None],
             x: list[float] | None = None) -> tuple[list[float], list[float | None]] | None:
    """(x, y) of what was measured, x the epochs from 1 unless given; a value that is not finite breaks the line."""
    places = x or [row["epoch"] + 1 for row in history]
    points = [(place, value if math.isfinite(value) else None)
              for place, value in zip(places, values, strict=True) if value is not None]
    return tuple(map(list, zip(*points, strict=True))) if points else None


def unique(class_names: Sequence[str]) -> list[str]:
    """The names as categories of an axis: as plotly shows them, told apart by their numbers where two are equal."""
    shown = [plain(name) for name in class_names]
    return [name if shown.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(shown)]


def ticks(class_names: Sequence[str], values: list[str], order: Sequence[int] | None = None) -> dict:
    """An axis' settings that name every class, each cut to its room."""
    shown = [plain(shortened(class_names[i])) for i in (range(len(class_names)) if order is None else order)]
    return {"type": "category", "tickmode": "array", "tickvals": values, "ticktext": shown, "showgrid": False,
            "tickfont": {"size": 12 if len(values) <= 20 else 8}}
