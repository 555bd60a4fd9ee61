import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from engine.plots.image_grids import Card, Strip
from engine.reporting.html_page import Cards, Chart, Code, Heading, Note, Section, Strips, Table, image_address, render

PICTURE = b"\x89PNG not really"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def body(html):
    return html.split("<body>", 1)[1]


def test_every_text_stays_text():
    image = np.zeros((2, 2, 3), np.uint8)
    chart = go.Figure(go.Bar(x=[HOSTILE], y=[1], text=[HOSTILE], hovertemplate=HOSTILE))
    page = body(render(HOSTILE, HOSTILE, [Section("all", HOSTILE, [
        Note(HOSTILE), Heading(HOSTILE), Code(HOSTILE), Table([(HOSTILE, HOSTILE)], (HOSTILE, HOSTILE)),
        Chart("chart", chart, PICTURE), Cards([Card(image, (HOSTILE, HOSTILE), "wrong")]),
        Strips([Strip(HOSTILE, [image])])], HOSTILE)]))
    assert "alert(1)" in page and "<script>alert(1)" not in page and "<img src=x" not in page
    scripts = re.findall(r"<script.*?>(.*?)</script>", page, re.S)
    assert len(scripts) == 2 and "Plotly.newPlot" in scripts[0] and "matchMedia" in scripts[1]


class Tags(HTMLParser):
    """The tags of a page, each with its attributes; what a browser without scripts shows, and the text of scripts."""

    def __init__(self, page):
        super().__init__()
        self.found, self.scripts, self.open_tag = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.open_tag = tag

    def handle_data(self, data):
        if self.open_tag == "script":
            self.scripts.append(data)


def charts_page():
    figure = go.Figure(go.Scatter(x=[1], y=[2]))
    return render("t", "s", [Section("one", "One", [Chart("first", figure, PICTURE), Note("n")]),
                             Section("two", "Two", [Chart("second", figure, PICTURE[::-1])])])


def test_no_place_of_the_page_leads_out_of_it():
    tags = Tags(charts_page()).found
    assert not {tag for tag, _ in tags} & {"form", "iframe", "object", "embed", "base", "link", "area", "input"}
    targets = [value for _, attributes in tags for name, value in attributes.items()
               if name in ("href", "src", "srcset", "action", "formaction", "data", "ping", "poster", "background")]
    assert len(targets) == 4 and all(target.startswith(("#", "data:image/png;")) for target in targets)


def test_no_chart_has_a_button_or_link_that_sends():
    script, = [text for text in Tags(charts_page()).scripts if "Plotly.newPlot" in text and '"first"' in text]
    start, read, arguments = script.index("Plotly.newPlot(") + len("Plotly.newPlot("), json.JSONDecoder(), []
    while not arguments or script[start:].lstrip().startswith(","):
        start = re.compile(r"[\s,]*").match(script, start).end()
        value, start = read.raw_decode(script, start)
        arguments.append(value)
    assert arguments[0] == "first" and arguments[3] == {
        "displaylogo": False, "showSendToCloud": False, "responsive": True, "showTips": False}


def test_readers_without_scripts_get_each_chart_as_a_picture():
    hidden, *pictures = re.findall(r"<noscript>(.*?)</noscript>", charts_page(), re.S)
    assert "display: none" in hidden
    found = [Tags(each).found for each in pictures]
    assert [(tag, attributes["alt"]) for (tag, attributes), in found] == [("img", "One"), ("img", "Two")]
    assert [base64.b64decode(attributes["src"].partition(",")[2]) for (_, attributes), in found] == [PICTURE,
                                                                                                    PICTURE[::-1]]


def test_the_page_loads_nothing_and_forbids_it():
    page = render("t", "s", [Section("one", "One", [Note("n")])])
    assert "default-src 'none'" in page and "connect-src" not in page and "form-action 'none'" in page
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"']?(?!data:)", page)
    assert "Plotly" in page and len(page) < 6e6


def test_parts_come_in_their_order_with_what_they_hold():
    cards = Cards([Card(np.zeros((2, 2, 3), np.uint8), ("true: a",), "right"),
                   Card(np.zeros((2, 4, 3), np.uint8), ("b",))])
    table = Table([("x", "1"), ("y", "2")], ("name", "n"))
    page = body(render("The title", "where", [Section("first", "First", [table]),
                                              Section("second", "Second", [Code("run me"), cards], "About it")]))
    order = ["The title", "where", 'href="#first"', 'href="#second"', 'id="first"', "<th>name</th>", "<td>1</td>",
             "<td>2</td>", 'id="second"', "About it", "run me", "✓", "<br>true: a"]
    places = [page.index(word) for word in order]
    assert places == sorted(places)
    assert page.count("<figure") == 2 and page.count('class="sign"') == 1


def test_an_image_comes_back_from_its_address():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    address = image_address(image[:, ::-1])
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,")))))
    assert np.array_equal(back, image[:, ::-1])
