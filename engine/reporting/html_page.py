"""A self-contained HTML page of sections of text, tables, charts and images.

All text is escaped. Scripts, the charts' data and images are inline, and the page forbids the browser to load anything.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image
from plotly.offline import get_plotlyjs

from engine.plots.image_grids import MARKS, Card, Strip

# No logo with a link, and no button that offers to upload the chart.
CHART_OPTIONS = {"displaylogo": False, "showSendToCloud": False, "responsive": True, "showTips": False}


@dataclass(frozen=True)
class Text:
    """A part of a section: plain text."""

    text: str


class Note(Text):
    """A highlighted sentence: what is missing, and why."""


class Heading(Text):
    """A title within a section."""


class Code(Text):
    """Text in a fixed-width font."""


@dataclass(frozen=True)
class Table:
    """Rows of cells, the first cell of each naming the row."""

    rows: Sequence[Sequence[str]]
    head: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    """A plotly figure; `name` is its element's id, of letters and underscores. picture: a PNG of what it shows, for
    readers without scripts."""

    name: str
    figure: go.Figure
    picture: bytes


@dataclass(frozen=True)
class Cards:
    """Images with lines of text, as many per row as fit."""

    cards: Sequence[Card]


@dataclass(frozen=True)
class Strips:
    """Rows of images with a title each."""

    strips: Sequence[Strip]


@dataclass(frozen=True)
class Section:
    """A part of the page; `name` is its anchor, `about` explains how to read it."""

    name: str
    title: str
    parts: Sequence[Text | Table | Chart | Cards | Strips]
    about: str = ""


def render(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The whole page as HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("engine.reporting").joinpath("html_page.html.jinja").read_text("utf-8")
    return environment.from_string(source).render(
        title=title, subtitle=subtitle, sections=sections, plotly_js=Markup(get_plotlyjs()),
        image_address=image_address, png_address=png_address,
        # An element and the script that draws it, in which plotly escapes what could end the script.
        chart_html=lambda chart: Markup(chart.figure.to_html(full_html=False, include_plotlyjs=False,
                                                             div_id=chart.name, config=CHART_OPTIONS)),
        kind_of=lambda part: type(part).__name__, marks=MARKS)


def image_address(image_hwc: np.ndarray) -> str:
    """A uint8 image (H, W, 3) as a data: address of its PNG."""
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image_hwc)).save(content, format="PNG")
    return png_address(content.getvalue())


def png_address(png: bytes) -> str:
    """A PNG file's content as a data: address."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
