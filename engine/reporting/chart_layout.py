"""How a chart's panels are laid out: axes of few epochs and of equal values, and one column where there is no room.

What a narrow window changes stands in the figure's `layout.meta`, for the page's script to apply.
"""

from collections.abc import Sequence

import plotly.graph_objects as go

# Up to so many epochs each has its tick; plotly would put some between them.
MOST_EPOCHS_TICKED = 10
NARROW_TITLE_PT, NARROW_MARGIN_PX = 14, 55
# Of a panel, and between two, where each has the whole width.
NARROW_PANEL_PX, NARROW_GAP_PX = 230, 75


def lay_out(figure: go.Figure, epochs: Sequence[int], epoch_axes: Sequence[str]) -> go.Figure:
    """The figure, of panels by make_subplots with a title each, with axes that mislead nobody and fit every window.

    epochs: all that are shown, from 1, none where nothing is; epoch_axes: the names of the axes that they are on
    ("xaxis2"). The figure's height and margins must be set.
    """
    if epochs and max(epochs) - min(epochs) < MOST_EPOCHS_TICKED:
        figure.update_layout({axis: {"dtick": 1, "tick0": 1} for axis in epoch_axes})
    if len(set(epochs)) == 1:
        figure.update_layout({axis: {"range": (epochs[0] - 0.5, epochs[0] + 0.5)} for axis in epoch_axes})
    for axis in (name for name in figure.layout if name.startswith("yaxis")):
        values = {y for trace in figure.data if (trace.yaxis or "y") == axis.replace("axis", "")
                  for y in trace.y if y is not None}
        if len(values) == 1 and values != {0}:
            # Plotly's own range, one to each side, would make 0.001 look like 0.
            figure.layout[axis].range = sorted((0, 2 * values.pop()))
    figure.layout.meta = {"narrow": narrow(figure), "wide": wide(figure)}
    return figure


def narrow(figure: go.Figure) -> dict[str, object]:
    """What plotly's relayout changes for one column: the panels below each other, their titles from the left on."""
    layout, titles = figure.layout, titles_of(figure)
    beside = [axis for axis in axes_of(figure) if layout[axis].domain[0] > 0]
    if beside:
        count = len(titles)
        inner_px = count * NARROW_PANEL_PX + (count - 1) * NARROW_GAP_PX
        tops_px = [inner_px - number * (NARROW_PANEL_PX + NARROW_GAP_PX) for number in range(count)]
        domains = [((top - NARROW_PANEL_PX) / inner_px, top / inner_px) for top in tops_px]
    else:
        inner_px = inner_px_of(figure)
        domains = [layout[axis.replace("x", "y", 1)].domain for axis in axes_of(figure)]
    changes = {"height": inner_px + layout.height - inner_px_of(figure), "margin.l": NARROW_MARGIN_PX, "margin.r": 10}
    if layout.legend.y is not None:
        changes["legend.y"] = 1 + (layout.legend.y - 1) * inner_px_of(figure) / inner_px
    for axis, title, domain in zip(axes_of(figure), titles, domains, strict=True):
        changes |= {f"{axis}.domain": (0, 1), f"{axis.replace('x', 'y', 1)}.domain": domain,
                    f"annotations[{title}].x": 0, f"annotations[{title}].xanchor": "left",
                    f"annotations[{title}].y": domain[1], f"annotations[{title}].font.size": NARROW_TITLE_PT}
    return changes


def wide(figure: go.Figure) -> dict[str, object]:
    """What puts back all that `narrow` changes."""
    layout = figure.layout
    changes = {"height": layout.height, "margin.l": layout.margin.l, "margin.r": layout.margin.r}
    if layout.legend.y is not None:
        changes["legend.y"] = layout.legend.y
    for axis, title in zip(axes_of(figure), titles_of(figure), strict=True):
        drawn, y_axis = layout.annotations[title], axis.replace("x", "y", 1)
        changes |= {f"{axis}.domain": layout[axis].domain, f"{y_axis}.domain": layout[y_axis].domain,
                    f"annotations[{title}].x": drawn.x, f"annotations[{title}].xanchor": drawn.xanchor,
                    f"annotations[{title}].y": drawn.y, f"annotations[{title}].font.size": drawn.font.size}
    return changes


def axes_of(figure: go.Figure) -> list[str]:
    """The panels' x axes by name, in the order of the panels."""
    return [f"xaxis{number or ''}" for number in (0, *range(2, 1 + len(titles_of(figure))))]


def titles_of(figure: go.Figure) -> list[int]:
    """The places of the panels' titles among the annotations: those that belong to the whole figure."""
    return [place for place, one in enumerate(figure.layout.annotations) if one.xref == "paper"]


def inner_px_of(figure: go.Figure) -> float:
    """The height that the panels share."""
    return figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
