"""A page in one file that needs nothing else: sections of text, tables, charts and images become HTML.

Everything is escaped; scripts, charts' data and images are inside, and the page itself forbids the browser to load
anything.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import ClassVar

import numpy as np
import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image
from plotly.offline import get_plotlyjs

from engine.plots.image_grids import MARKS, Card, Strip

# No button that sends data anywhere, no logo that is a link; the scroll wheel scrolls the page.
CHART_OPTIONS = {"displaylogo": False, "responsive": True, "showTips": False}


@dataclass(frozen=True)
class Note:
    """A sentence that stands out: what is missing, and why."""

    text: str
    kind: ClassVar[str] = "note"


@dataclass(frozen=True)
class Heading:
    """A title within a section."""

    text: str
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True)
class Code:
    """Text as it is typed."""

    text: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Table:
    """Rows of cells, the first of each its name; `head` may be empty."""

    rows: Sequence[Sequence[str]]
    head: Sequence[str] = ()
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Chart:
    """A plotly figure; `name` is its element's id, of letters and underscores."""

    name: str
    figure: go.Figure
    kind: ClassVar[str] = "chart"


@dataclass(frozen=True)
class Cards:
    """Images with lines of text, as many a row as there is room for."""

    cards: Sequence[Card]
    kind: ClassVar[str] = "cards"


@dataclass(frozen=True)
class Strips:
    """Rows of images with a title each."""

    strips: Sequence[Strip]
    kind: ClassVar[str] = "strips"


@dataclass(frozen=True)
class Section:
    """A part of the page; `name` is its address in it, `about` a sentence on how to read it."""

    name: str
    title: str
    parts: Sequence[Note | Heading | Code | Table | Chart | Cards | Strips] = field(default_factory=list)
    about: str = ""


def render(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The whole page as HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("engine.reporting").joinpath("html_page.html.jinja").read_text("utf-8")
    return environment.from_string(source).render(
        title=title, subtitle=subtitle, sections=sections, plotly_js=Markup(get_plotlyjs()), png=data_address,
        chart_html=chart_html, signs={mark: sign for mark, (sign, _) in MARKS.items()})


def chart_html(chart: Chart) -> Markup:
    """A chart's element and the script that draws it; plotly escapes what could end the script."""
    return Markup(chart.figure.to_html(full_html=False, include_plotlyjs=False, div_id=chart.name,
                                       config=CHART_OPTIONS))


def data_address(image_hwc: np.ndarray) -> str:
    """A uint8 image (H, W, 3) as a data: address of its PNG."""
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image_hwc)).save(content, format="PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
