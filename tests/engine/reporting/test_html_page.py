import base64
import io
import re

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from engine.plots.image_grids import Card, Strip
from engine.reporting.html_page import Cards, Chart, Code, Heading, Note, Section, Strips, Table, data_address, render

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def body(html):
    return html.split("<body>", 1)[1]


def test_every_text_stays_text():
    image = np.zeros((2, 2, 3), np.uint8)
    chart = go.Figure(go.Bar(x=[HOSTILE], y=[1], text=[HOSTILE], hovertemplate=HOSTILE))
    page = body(render(HOSTILE, HOSTILE, [Section("all", HOSTILE, [
        Note(HOSTILE), Heading(HOSTILE), Code(HOSTILE), Table([(HOSTILE, HOSTILE)], (HOSTILE, HOSTILE)),
        Chart("chart", chart), Cards([Card(image, (HOSTILE, HOSTILE), "wrong")]), Strips([Strip(HOSTILE, [image])])],
        HOSTILE)]))
    assert "alert(1)" in page and "<script>alert(1)" not in page and "<img src=x" not in page
    scripts = re.findall(r"<script.*?>(.*?)</script>", page, re.S)
    assert len(scripts) == 2 and "Plotly.newPlot" in scripts[0] and "matchMedia" in scripts[1]


def test_the_page_loads_nothing_and_forbids_it():
    page = render("t", "s", [Section("one", "One", [Note("n")])])
    assert "default-src 'none'" in page and "connect-src" not in page
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
    address = data_address(image[:, ::-1])
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,")))))
    assert np.array_equal(back, image[:, ::-1])
