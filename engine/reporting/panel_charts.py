"""The report's interactive charts: figures by plotly, drawn from a description.

Plotly interprets some HTML in its texts; every text from a user goes through `plain`.
"""

import html
from collections.abc import Sequence

import plotly.graph_objects as go

from engine.plots.figure_spec import GREY, MOST_POINTS_WITH_DOTS, NOT_MEASURED, Bars, FigureSpec, Line, Panel

DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
LAYOUT = {"template": "plotly_white", "margin": {"l": 70, "r": 20, "t": 60, "b": 50}, "hoverlabel": {"align": "left"}}
# Up to this many epochs, each has a tick; plotly would add some between them.
MOST_EPOCHS_TICKED = 10
LEGEND_PX = 36
# Between columns, as a share of the width; between rows, for a shared x axis and for separate ones.
COLUMN_GAP, SHARED_GAP_PX, ROW_GAP_PX = 0.09, 35, 75
# The height of a panel that is beside another in a wide window.
NARROW_PANEL_PX = 230


def plain(text: str) -> str:
    """A user's text, escaped so that plotly shows it unchanged."""
    return html.escape(text, quote=False)


def chart(spec: FigureSpec) -> go.Figure:
    """The figure that `spec` describes. Zooming into a panel zooms all with the same x quantity. `layout.meta` holds
    the layouts for a wide and a narrow window, for plotly's relayout."""
    figure, groups, first_over = go.Figure(), set(), {}
    for panel in spec.panels:
        figure.add_annotation(text=panel.y_label[0].upper() + panel.y_label[1:], showarrow=False, xref="paper",
                              yref="paper", yanchor="bottom")
    for place, panel in enumerate(spec.panels):
        x, y = f"x{axis_number(place)}", f"y{axis_number(place)}"
        for series in panel.series:
            group = getattr(series, "group", None)
            figure.add_trace(trace_of(series, panel.x_label).update(
                xaxis=x, yaxis=y, showlegend=group is not None and group not in groups))
            groups |= {group} - {None}
        if not any(len(series.x) for series in panel.series):
            # Without a trace plotly draws no axes.
            figure.add_scatter(x=[None], y=[None], showlegend=False, xaxis=x, yaxis=y)
            figure.add_annotation(text=NOT_MEASURED, showarrow=False, x=0.5, y=0.5, xref=f"{x} domain",
                                  yref=f"{y} domain", font={"color": GREY})
        in_last_row = place >= len(spec.panels) - spec.columns
        figure.layout[f"xaxis{axis_number(place)}"] = {
            "anchor": y, "matches": first_over.get(panel.x_label), "title": {"text": panel.x_label * in_last_row},
            "showticklabels": in_last_row or spec.columns > 1, **x_ticks(panel, spec)}
        figure.layout[f"yaxis{axis_number(place)}"] = {"anchor": x, "range": y_range(panel)}
        first_over.setdefault(panel.x_label, x)
    layouts = {name: places_in(spec, name == "narrow") for name in ("narrow", "wide")}
    figure.update_layout(**LAYOUT, meta=layouts, showlegend=bool(groups),
                         legend={"orientation": "h", "x": 0, "yanchor": "bottom"})
    figure.plotly_relayout(layouts["wide"])
    return figure


def axis_number(place: int) -> str:
    """The suffix of a panel's axes in plotly: "", "2", "3" ..."""
    return str(place + 1) if place else ""


def trace_of(series: Line | Bars, x_label: str) -> go.Scatter | go.Bar:
    """A series of a panel; hovering shows its name, x and y."""
    hover = plain(getattr(series, "hover", "") or series.label)
    shared = {"x": series.x if len(series.x) else [None], "y": series.y if len(series.y) else [None],
              "name": plain(series.label), "hovertext": list(series.notes) or None,
              "hovertemplate": f"{hover}<br>{x_label} %{{x:,.6~r}}: %{{y:,.6~r}}"
                               f"{'<br>%{hovertext}' if series.notes else ''}<extra></extra>"}
    if isinstance(series, Bars):
        return go.Bar(**shared, width=series.width, marker_color=series.colour)
    dotted = series.dots and len(series.x) <= MOST_POINTS_WITH_DOTS
    return go.Scatter(**shared, mode="lines+markers" if dotted else "lines", legendgroup=series.group,
                      hoverinfo=None if series.dots else "skip",
                      line={"color": series.colour, "dash": DASHES[series.dash], "width": series.width_pt})


def x_ticks(panel: Panel, spec: FigureSpec) -> dict:
    """An x axis' settings that put ticks at whole epochs, the same in all panels."""
    if not panel.epochs:
        return {"range": panel.x_limits}
    epochs = {x for one in spec.panels if one.epochs for series in one.series for x in series.x}
    few = epochs and max(epochs) - min(epochs) < MOST_EPOCHS_TICKED
    only = epochs.pop() if len(epochs) == 1 else None
    return {"tickformat": "~d", **({"dtick": 1, "tick0": 1} if few else {}),
            "range": only and (only - 0.5, only + 0.5)}


def y_range(panel: Panel) -> Sequence[float] | None:
    """The ends of a panel's y axis; None lets plotly choose."""
    if panel.y_limits and None not in panel.y_limits:
        return panel.y_limits
    values = {y for series in panel.series for y in series.y if y is not None}
    # Plotly's range, 1 to each side, would make 0.001 look like 0.
    return sorted((0, 2 * values.pop())) if len(values) == 1 and values != {0} else None


def places_in(spec: FigureSpec, narrow: bool) -> dict[str, object]:
    """Plotly's relayout changes for a wide window, or for a narrow one, with all panels below each other."""
    columns = 1 if narrow else spec.columns
    row_px = spec.row_px if columns == spec.columns else [NARROW_PANEL_PX] * len(spec.panels)
    gap_px = SHARED_GAP_PX if spec.columns == 1 else ROW_GAP_PX
    inner_px = sum(row_px) + gap_px * (len(row_px) - 1)
    margin, width = LAYOUT["margin"], (1 - COLUMN_GAP * (columns - 1)) / columns
    changes = {"height": inner_px + margin["t"] + margin["b"], "margin.l": 55 if narrow else margin["l"],
               "margin.r": 10 if narrow else margin["r"], "legend.y": 1 + LEGEND_PX / inner_px}
    for place in range(len(spec.panels)):
        row, column = divmod(place, columns)
        top_px, left = inner_px - sum(row_px[:row]) - gap_px * row, column * (width + COLUMN_GAP)
        axis, title = axis_number(place), f"annotations[{place}]"
        changes |= {f"xaxis{axis}.domain": [left, min(left + width, 1)],
                    f"yaxis{axis}.domain": [(top_px - row_px[row]) / inner_px, top_px / inner_px],
                    f"{title}.x": 0 if narrow else left + width / 2, f"{title}.xanchor": "left" if narrow else "center",
                    f"{title}.y": top_px / inner_px, f"{title}.font.size": 14 if narrow else 16}
    return changes
