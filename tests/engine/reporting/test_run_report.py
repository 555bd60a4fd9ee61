"""The pages in a real browser: Chromium without a network, by Playwright."""

import contextlib
import csv
import itertools
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from engine.plots.bars import speed_spec
from engine.plots.curves import comparison_spec, overview_spec
from engine.reporting.comparison import write_comparison
from engine.reporting.confusion_charts import confusion_chart
from engine.reporting.html_page import Chart, Section, Table, render
from engine.reporting.panel_charts import chart
from engine.reporting.run_report import write_report
from tests.engine.image_files import stored

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow("drives a browser"),
              pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")]
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
PICTURE = stored(Image.new("RGB", (160, 90)))
NAMES = [f"class_{number}" for number in range(99)] + ["<b>bold</b>"]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def visited(browser):
    """A function that opens a page from disk; nothing but that file may have been asked for, and nothing failed."""
    asked, wrong, opened = [], [], []
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(120_000)
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)

    def open_file(path):
        opened.append(path.as_uri())
        page.goto(opened[0])
        page.wait_for_selector(".js-plotly-plot .main-svg")
        return page

    yield open_file
    page.close()
    assert not [url for url in asked if not url.startswith(("data:", "blob:", *opened))]
    assert opened and not wrong


@pytest.fixture
def visit(browser):
    with visited(browser) as open_file:
        yield open_file


@pytest.fixture(scope="module")
def charts_page(browser, tmp_path_factory):
    """A page of charts; each test moves and clicks in a chart of its own."""
    matrix = np.diag(np.arange(100)) + 7 * np.eye(100, k=99, dtype=np.int64)
    runs = {"run one": history(5), "run two": history(8, 3.0)}
    figures = {"curves": chart(overview_spec(history(20))), "comparison": chart(comparison_spec(runs)),
               "confusion": confusion_chart(matrix, NAMES),
               "zoomed": confusion_chart(np.eye(100, dtype=np.int64), NAMES)}
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(render("A run", "somewhere", [Section(name, name, [Chart(f"{name}_chart", figure, PICTURE)])
                                                  for name, figure in figures.items()]))
    with visited(browser) as open_file:
        yield open_file(path)


@pytest.fixture
def opened(visit, tmp_path):
    """A function that opens a page of sections."""
    def open_sections(*sections):
        path = tmp_path / "page.html"
        path.write_text(render("A run", "somewhere", sections))
        return visit(path)

    return open_sections


def interrupted_run(folder, epochs):
    """A run folder that holds settings and epochs only."""
    folder.mkdir()
    (folder / "config.yaml").write_text("data:\n  name: <shapes>\ntrain:\n  seed: 3\n")
    rows = history(epochs)
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def history(count, first_loss=2.0):
    return [{"epoch": epoch, "lr": 0.1, "train_loss": first_loss / (epoch + 1), "train_top1": 0.5, "test_loss": 1.0,
             "test_top1": 0.4, "train_s": 3.0} for epoch in range(count)]


def drag(page, selector, start, stop):
    """Drag over an element; start and stop are shares of its width and height."""
    page.locator(selector).scroll_into_view_if_needed()
    box = page.locator(selector).bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, stop)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=4)
    page.mouse.up()


def count_zooms(page, chart):
    """Number a chart's zooms from now on, in its attribute data-zooms: the page allows no polling by eval."""
    page.evaluate(f"{{const chart = document.getElementById('{chart}'); let zooms = 0; "
                  "chart.on('plotly_relayout', () => { chart.dataset.zooms = ++zooms })}")


def range_of(page, chart, axis):
    return page.evaluate(f"document.getElementById('{chart}')._fullLayout.{axis}.range")


def test_dragging_over_a_curve_zooms_all_of_them_and_a_double_click_zooms_out(charts_page):
    page = charts_page
    before = range_of(page, "curves_chart", "xaxis")
    count_zooms(page, "curves_chart")
    drag(page, "#curves_chart .draglayer .xy .nsewdrag", (0.25, 0.5), (0.5, 0.5))
    page.wait_for_selector("#curves_chart[data-zooms='1']")
    zoomed = range_of(page, "curves_chart", "xaxis")
    assert before[0] < 2 < zoomed[0] < zoomed[1] < 12 < before[1]
    assert range_of(page, "curves_chart", "xaxis4") == pytest.approx(zoomed)
    page.locator("#curves_chart .draglayer .xy .nsewdrag").dblclick()
    page.wait_for_selector("#curves_chart[data-zooms='2']")
    assert range_of(page, "curves_chart", "xaxis") == pytest.approx(before)


def test_pointing_at_the_confusion_matrix_names_both_classes_and_the_count(charts_page):
    page, cells = charts_page, charts_page.locator("#confusion_chart .draglayer .nsewdrag")
    box = cells.bounding_box()
    # Scrolls there first: the matrix is higher than the window.
    cells.hover(position={"x": box["width"] * 0.995, "y": box["height"] * 0.005})
    label = page.locator("#confusion_chart .hoverlayer .hovertext")
    label.wait_for()
    assert "".join(label.locator("tspan").all_text_contents()) == \
        "true: class_0predicted: <b>bold</b>7 images, 100 % of the true class"
    ticks = page.locator("#confusion_chart .ytick text").all_text_contents()
    assert ticks == NAMES
    boxes = page.evaluate("[...document.querySelectorAll('#confusion_chart .ytick text')].map(text => "
                          "{const box = text.getBoundingClientRect(); return [box.top, box.bottom]})")
    assert max(bottom - following for (_, bottom), (following, _) in zip(boxes, boxes[1:], strict=False)) < 1.5


def test_zooming_into_the_matrix_shows_fewer_classes(charts_page):
    page = charts_page
    count_zooms(page, "zoomed_chart")
    drag(page, "#zoomed_chart .draglayer .nsewdrag", (0.1, 0.1), (0.3, 0.3))
    page.wait_for_selector("#zoomed_chart[data-zooms='1']")
    low, high = sorted(range_of(page, "zoomed_chart", "yaxis"))
    assert 5 < low < high < 35 and page.locator("#zoomed_chart .ytick text").count() < 35


def test_the_comparison_shows_every_run_and_hides_one_on_a_click(charts_page):
    page = charts_page
    entries = page.locator("#comparison_chart .legend .traces")
    assert entries.locator("text").all_text_contents() == ["run one", "run two"]
    lines = page.locator("#comparison_chart .scatterlayer .js-line")
    # Of each run training and test in three panels, its rate in the fourth.
    playwright.expect(lines).to_have_count(2 * 7)
    page.locator("#comparison_chart .legendtoggle").first.click()
    playwright.expect(lines).to_have_count(7)


def test_a_runs_page_opens_and_its_links_lead_to_its_sections(visit, tmp_path, unpainted):
    page = visit(write_report(interrupted_run(tmp_path / "run", 4)))
    assert page.title() == "a recipe that is not recorded on <shapes>, seed 3"
    links = page.locator("nav a")
    assert links.count() == page.locator("section").count() > 6
    links.get_by_text("Environment").click()
    playwright.expect(page.locator("#environment h2")).to_be_in_viewport()


def test_no_button_of_a_chart_sends_or_leads_anywhere(visit, tmp_path):
    page, opened = visit(write_comparison([interrupted_run(tmp_path / name, 3) for name in ("one", "two")])), []
    page.context.on("page", lambda other: opened.append(other.url))
    page.on("framenavigated", lambda frame: opened.append(frame.url))
    titles = page.locator(".modebar-btn").evaluate_all("all => all.map(one => one.dataset.title)")
    assert "Download plot as a PNG" in titles
    assert not [title for title in titles if re.search("share|cloud|upload|edit", title.lower())]
    page.locator("#comparison_chart").hover()
    for button in page.locator(".modebar-btn").all():
        button.click()
    assert not opened and page.locator("[class*=cloud]").count() == 0
    links = page.locator("[href], [action], iframe").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert links and all(link.startswith("#") for link in links)


def test_readers_without_scripts_see_the_pictures(browser, tmp_path):
    path = write_comparison([interrupted_run(tmp_path / name, 3) for name in ("one", "two")])
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(path.as_uri())
    picture = page.locator("img.picture")
    playwright.expect(picture).to_be_visible()
    # As wide as the page allows, and as high as drawn for it: so it was read, and not only given a place.
    width, height = Image.open(path.with_suffix(".png")).size
    box = picture.bounding_box()
    assert box["width"] > 600 and box["height"] == pytest.approx(box["width"] * height / width, rel=0.01)
    assert not page.locator("#comparison_chart").is_visible()
    page.context.close()


def test_the_page_of_a_comparison_shows_both_runs(visit, tmp_path):
    runs = [interrupted_run(tmp_path / name, epochs) for name, epochs in (("short", 2), ("<long>", 5))]
    page = visit(write_comparison(runs))
    assert page.locator("#results thead th").all_text_contents() == ["", "short", "<long>"]
    assert page.locator("#comparison_chart .legendtext").all_text_contents() == ["short", "<long>"]


def boxes_of(page, selector, section):
    """(left, top, right, bottom) of all that match, in pixels from the left top of the section."""
    return page.evaluate("""([selector, section]) => {
        const origin = document.getElementById(section).getBoundingClientRect();
        return [...document.querySelectorAll(selector)].map(one => one.getBoundingClientRect()).map(
            box => [box.left - origin.left, box.top - origin.top, box.right - origin.left, box.bottom - origin.top])
    }""", [selector, section])


def overlapping(boxes):
    return [(one, other) for one, other in itertools.combinations(boxes, 2)
            if one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]]


def test_the_charts_of_a_page_fit_a_narrow_window_and_a_wide_one_again(opened):
    specs = {"curves": overview_spec(history(3)), "speed": speed_spec(history(3)),
             "comparison": comparison_spec({"one": history(3), "two": history(5, 3.0)})}
    page = opened(*(Section(name, name, [Chart(f"{name}_chart", chart(spec), PICTURE)])
                    for name, spec in specs.items()))
    wide = {name: boxes_of(page, f"#{name}_chart .annotation-text-g", name) for name in specs}
    for width, layout, chart_px in ((390, "narrow", 390 - 2 * 16), (1280, "wide", 1180 - 2 * 24)):
        page.set_viewport_size({"width": width, "height": 800})
        for name, spec in specs.items():
            one = f"#{name}_chart"
            page.wait_for_selector(f"{one}[data-layout={layout}] .main-svg[width='{chart_px}']", timeout=30_000)
            titles = boxes_of(page, f"{one} .annotation-text-g", name)
            texts = [*titles, *boxes_of(page, f"{one} .g-xtitle, {one} .legendtext, {one} .xtick text", name)]
            assert len(titles) == len(spec.panels) and not overlapping(texts)
            frame = boxes_of(page, one, name)[0]
            assert all(frame[0] <= left and right <= frame[2] and bottom <= frame[3]
                       for left, _, right, bottom in texts)
            if layout == "narrow":
                assert len({top for _, top, _, _ in titles}) == len(spec.panels)
            else:
                assert np.allclose(titles, wide[name], atol=1)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_page_opened_in_a_narrow_window_cuts_no_cell(opened):
    page = opened(Section("result", "Result", [
        Table([("precision, feed, step", "bf16, stream, eager"), ("weights (SHA-256)", "b6f2db0cee5b1807")]),
        Chart("curves_chart", chart(overview_spec(history(3))), PICTURE)]))
    page.set_viewport_size({"width": 390, "height": 800})
    page.reload()
    page.wait_for_selector("#curves_chart[data-layout=narrow]")
    assert page.evaluate("[...document.querySelectorAll('.scroll')].map(one => one.scrollWidth - one.clientWidth)"
                         ) == [0, 0]
    titles = boxes_of(page, "#curves_chart .annotation-text-g", "result")
    assert len({left for left, *_ in titles}) == 1 and not overlapping(titles)
