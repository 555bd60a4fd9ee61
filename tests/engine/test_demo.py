"""The page in a real browser: a network that names colours classifies uploads, and refuses bad ones."""

import os
import re
import shutil
import signal
import socket
import sys
import threading
import urllib.request

import httpx
import numpy as np
import pytest
from PIL import Image

from engine import demo
from engine.common.errors import EngineError
from engine.inference.predictor import Predictor
from engine.inference.sample_images import one_per_class
from engine.inference.trained import open_trained
from loaders.sources.open import open_source
from tests.engine.colours import COLOURS, colours_run
from tests.engine.image_files import png, stored

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
pytest.importorskip("gradio", reason="needs the extra demo")
pytest.importorskip("pytorch_grad_cam", reason="needs the extra cam")

from engine.inference import demo_page, demo_server  # noqa: E402

# From Gradio's own use of pandas.
pytestmark = pytest.mark.filterwarnings("ignore:.*(no_silent_downcasting|copy keyword is deprecated)")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
VIEWPORT = {"width": 1280, "height": 1000}
REMOVE = "#upload button[aria-label='Remove Image']"
WAIT_MS = 120_000
# The server's real limit would take seconds to reach.
MOST_BYTES = 300 * 1024
browser_test = pytest.mark.slow("starts a server and a browser")
HOSTILE = ("<b>rot</b>", "<img src=x onerror=alert(1)>", "blau & grün", "**weiß**", "schwarz", "grau")


@pytest.fixture(scope="module")
def predictors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    runs = {"colours": colours_run(folder / "a"), "Farben": colours_run(folder / "b", HOSTILE)}
    return {name: Predictor(open_trained(str(run), device="cpu")) for name, run in runs.items()}


@pytest.fixture(scope="module")
def served(predictors, tmp_path_factory):
    """The page's address, and the addresses beyond this machine that its process tried to reach."""
    reached, connect = [], socket.socket.connect

    def watched(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            reached.append(address)
            raise OSError("no network in this test")
        return connect(self, address)

    samples = {"colours": [(np.full((16, 16, 3), (0, 0, 255), np.uint8), "blue"),
                           (np.full((16, 16, 3), (0, 255, 0), np.uint8), "green")], "Farben": []}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        patch.setattr(socket.socket, "connect", watched)
        patch.setattr(demo_server, "MAX_UPLOAD_BYTES", MOST_BYTES)
        with demo_server.serve(demo_page.build_page(predictors, samples)) as (address,):
            yield address, reached


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra test")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=program, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def loaded(browser, served):
    """The page, loaded; requests to other machines; its errors and dialogs."""
    address = served[0]
    page = browser.new_page(viewport=VIEWPORT)
    page.set_default_timeout(WAIT_MS)
    elsewhere, wrong = [], []

    def only_here(route):
        here = route.request.url.startswith((address, "data:", "blob:"))
        if not here:
            elsewhere.append(route.request.url)
        route.continue_() if here else route.abort()

    page.route("**/*", only_here)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.goto(address)
    page.wait_for_selector("#upload input[type=file]", state="attached", timeout=WAIT_MS)
    yield page, elsewhere, wrong
    page.close()


@pytest.fixture
def tab(loaded, served):
    """The page without an image; at the end it must have requested from this machine only, without dialog or error."""
    page, elsewhere, wrong = loaded
    page.set_viewport_size(VIEWPORT)
    if page.query_selector(REMOVE):
        clear(page)
    yield page
    assert not elsewhere and not wrong and not served[1]


@browser_test
def test_no_place_of_the_page_leads_elsewhere(tab, served):
    places = tab.locator("[href], [src], [action], [formaction]").evaluate_all(
        "all => all.flatMap(one => ['href', 'src', 'action', 'formaction'].map(name => one[name]))")
    places = [place for place in places if isinstance(place, str) and place]
    assert places and all(place.startswith((served[0], "data:", "blob:")) for place in places)
    titles = tab.locator("button, a").evaluate_all("all => all.map(one => one.innerText + one.ariaLabel + one.title)")
    assert titles and not [title for title in titles if re.search("share|cloud|deploy|api", title.lower())]


def send(page, name, content):
    """Upload a file."""
    page.set_input_files("#upload input[type=file]", {"name": name, "mimeType": "image/png", "buffer": content})


def shown(page, part):
    """The page's sentence, once it contains `part`."""
    page.wait_for_function("part => document.querySelector('#prediction')?.innerText.includes(part)", arg=part,
                           timeout=WAIT_MS)
    return page.inner_text("#prediction")


def clear(page):
    """Remove the image."""
    page.click(REMOVE)
    page.wait_for_function("document.querySelector('#prediction')?.innerText.trim() === ''", timeout=WAIT_MS)
    page.wait_for_selector("#upload input[type=file]", state="attached", timeout=WAIT_MS)


def column(page, number):
    return [cell.inner_text() for cell in page.query_selector_all(f"#table [role=gridcell][aria-colindex='{number}']")]


@browser_test
def test_an_upload_gives_a_sentence_bars_a_table_and_images(tab, tmp_path):
    half = Image.new("RGB", (60, 60), "red")
    half.paste((120, 0, 0), (30, 0, 60, 60))
    send(tab, "red.png", stored(half))
    assert "% sure" in shown(tab, "red")
    tab.wait_for_selector("#seen img")
    tab.wait_for_selector("#gradcam img")
    sizes = tab.eval_on_selector_all("#seen img, #gradcam img", "all => all.map(one => one.naturalWidth)")
    assert sizes == [256, 256]
    assert all(name in tab.inner_text("#bars") for name in COLOURS)
    tab.wait_for_selector("#table [role=gridcell]")
    shares = [float(share) for share in column(tab, 2)]
    assert sorted(column(tab, 1)) == sorted(COLOURS) and column(tab, 1)[0] == "red"
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=0.01)
    tab.screenshot(path=tmp_path / "page.png", full_page=True)
    drawn = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).reshape(-1, 3)
    assert len(drawn) > 1280 * 900 and len(np.unique(drawn, axis=0)) > 100


@browser_test
def test_the_table_sorts(tab):
    send(tab, "red.png", stored(Image.new("RGB", (8, 8), "red")))
    tab.wait_for_selector("#table [role=gridcell]")
    tab.hover("#table [data-testid=header-0]")
    tab.click("#table [data-testid=header-0] button[aria-label='Open cell menu']")
    tab.get_by_role("menuitem", name="Sort ascending").click()
    tab.wait_for_function("first => document.querySelector('#table [role=gridcell]')?.innerText === first",
                          arg="black", timeout=WAIT_MS)
    assert column(tab, 1) == sorted(COLOURS)


BAD = {
    "text.png": (b"this is not an image", "text.png: is not an image that can be read"),
    "bomb.png": (png(60_000, 60_000), "bomb.png: has more pixels than the 25,000,000 that are decoded"),
    "large.png": (png(6_000, 6_000), "large.png: has 6000 x 6000 pixels; from 1 to 25,000,000 are decoded"),
    "cut.png": (png(20, 20, bytes(100)), "cut.png: is damaged or truncated"),
    "<i>a.png": (b"x", "a.png: is not an image"),
}


@browser_test
def test_a_bad_file_gets_a_sentence_and_the_next_one_a_prediction(tab):
    for name, (content, sentence) in BAD.items():
        send(tab, "green.tiff", stored(Image.new("RGB", (8, 8), "lime"), "TIFF"))
        shown(tab, "green")
        clear(tab)
        send(tab, name, content)
        assert "Traceback" not in shown(tab, sentence)
        assert not tab.query_selector("#seen img") and not column(tab, 1)
        assert not tab.query_selector("[data-testid=toast-body]")
        clear(tab)


@browser_test
def test_a_file_that_is_too_large_is_refused(tab):
    send(tab, "heavy.png", bytes(MOST_BYTES + 1))
    tab.wait_for_selector("[data-testid=toast-body]", timeout=WAIT_MS)
    assert "exceed the maximum allowed size of 300" in tab.inner_text("[data-testid=toast-body]")
    tab.click("[data-testid=toast-close]")
    tab.wait_for_selector("[data-testid=toast-body]", state="detached", timeout=WAIT_MS)


@browser_test
def test_samples_and_another_network_whose_class_names_are_hostile(tab):
    tab.wait_for_selector("#samples img")
    tab.click("#samples button >> nth=0")
    shown(tab, "blue")
    tab.click("#samples button >> nth=1")
    shown(tab, "green")
    tab.click("#network input")
    tab.click("[role=option] >> nth=1")
    shown(tab, HOSTILE[1])
    tab.wait_for_function("document.querySelectorAll('#samples img').length === 0", timeout=WAIT_MS)
    assert HOSTILE[1] in tab.inner_text("#bars") and HOSTILE[0] in column(tab, 1)
    assert not tab.query_selector("#bars img, #table img, #prediction img")
    tab.click("#network input")
    tab.click("[role=option] >> nth=0")
    shown(tab, "green")


@browser_test
def test_what_takes_too_long_is_reported(tab, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(demo_page, "MAX_WAIT_S", 0.2)
    monkeypatch.setattr(demo_page, "predict_upload", lambda *_: release.wait(60))
    send(tab, "red.png", stored(Image.new("RGB", (8, 8), "red")))
    try:
        shown(tab, "took longer than")
    finally:
        release.set()


def test_without_an_overlay_the_prediction_comes_with_the_reason(predictors, tmp_path, monkeypatch):
    def absent(*_):
        raise EngineError("GradCAM needs a layer <of maps>")

    (tmp_path / "a.png").write_bytes(stored(Image.new("RGB", (8, 8), "red")))
    given = predictors["colours"], (tmp_path / "a.png", "a"), True
    assert demo_page.results_of(*demo_page.predict_upload(*given))[3] is not None
    monkeypatch.setattr(demo_page, "overlays", absent)
    sentence, bars, seen, overlay, table = demo_page.results_of(*demo_page.predict_upload(*given))
    assert "red" in sentence and "GradCAM needs a layer &lt;of maps&gt;" in sentence
    assert overlay is None and bars and len(table) == 6 and seen.shape == (256, 256, 3)


def test_a_diverged_network_has_no_prediction(tmp_path):
    diverged = Predictor(open_trained(str(colours_run(tmp_path / "run")), device="cpu"))
    next(diverged.trained.model.parameters()).fill_(float("nan"))
    (tmp_path / "a.png").write_bytes(stored(Image.new("RGB", (8, 8), "red")))
    page = demo_page.build_page({"one": diverged}, {})
    respond = next(each.fn for each in page.fns.values() if each.name == "respond")
    sentence, *others = respond("one", (tmp_path / "a.png", "a.png"))
    assert "no prediction: not finite" in sentence and "sure" not in sentence and not any(others)


@browser_test
def test_the_samples_fit_a_narrow_window(tab):
    tab.set_viewport_size({"width": 390, "height": 800})
    tab.wait_for_selector("#samples img")
    columns = tab.eval_on_selector("#samples .grid-container", "grid => getComputedStyle(grid).gridTemplateColumns")
    room = tab.eval_on_selector("#samples .grid-container", "grid => grid.getBoundingClientRect().width")
    assert 2 <= len(columns.split()) and sum(float(column.removesuffix("px")) for column in columns.split()) <= room


def test_abandoned_work_is_not_started(predictors, monkeypatch):
    release, started = threading.Event(), []
    monkeypatch.setattr(demo_page, "MAX_WAIT_S", 0.1)
    monkeypatch.setattr(demo_page, "predict_upload", lambda *given: (started.append(given[1][1]), release.wait(60)))
    page = demo_page.build_page(predictors, {})
    respond = next(each.fn for each in page.fns.values() if each.name == "respond")
    for name in ("slow", "waits", "waits too"):
        assert "took longer than" in respond("colours", (None, name))[0]
    monkeypatch.setattr(demo_page, "MAX_WAIT_S", 60)
    monkeypatch.setattr(demo_page, "results_of", lambda *_: started[:])
    release.set()
    assert respond("colours", (None, "next")) == ["slow", "next"]


@browser_test
def test_the_page_forbids_content_from_elsewhere(served):
    policy = httpx.get(served[0]).headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http" not in policy


def test_a_request_for_another_file_of_this_machine_is_refused(predictors, tmp_path):
    from gradio.data_classes import ImageData

    (tmp_path / "uploads").mkdir()
    for folder in ("uploads", "."):
        (tmp_path / folder / "a.png").write_bytes(stored(Image.new("RGB", (8, 8), "red")))
    inside = demo_page.uploaded(tmp_path / "uploads", ImageData(path=str(tmp_path / "uploads" / "a.png")))
    assert demo_page.predict_upload(predictors["colours"], inside, False)[0].label == "red"
    for path in (tmp_path / "a.png", tmp_path / "uploads" / ".." / "a.png", None):
        outside = demo_page.uploaded(tmp_path / "uploads", ImageData(path=path and str(path), orig_name="a.png"))
        with pytest.raises(EngineError, match="is not an uploaded file, or no longer there"):
            demo_page.predict_upload(predictors["colours"], outside, False)


@pytest.mark.slow("starts a server")
def test_the_command_serves_this_machine_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    run, seen = colours_run(tmp_path / "run"), {}

    def visit():
        address = capsys.readouterr().out.split()[4]
        seen["address"], seen["uploads"] = address, os.environ["GRADIO_TEMP_DIR"]
        seen["page"] = urllib.request.urlopen(address, timeout=30).read().decode()
        seen["analytics"] = os.environ["GRADIO_ANALYTICS_ENABLED"]

    monkeypatch.setattr(demo, "wait_for_a_signal", visit)
    assert demo.main([str(run), "--device", "cpu"]) == 0
    assert seen["address"].startswith("http://127.0.0.1:") and "What does this picture show?" in seen["page"]
    assert seen["analytics"] == "False" and not os.path.exists(seen["uploads"])
    with pytest.raises(OSError):
        urllib.request.urlopen(seen["address"], timeout=5)


def test_sharing_is_requested_and_a_refusal_is_one_line(predictors, monkeypatch):
    asked = []

    def launch(self, **options):
        asked.append(options)
        return None, "http://127.0.0.1:1/", None

    monkeypatch.setattr(demo_page.gr.Blocks, "launch", launch)
    page = demo_page.build_page(predictors, {})
    with demo_server.serve(page) as addresses:
        assert addresses == ["http://127.0.0.1:1/"]
    with pytest.raises(EngineError, match="gave no public address"), demo_server.serve(page, share=True):
        pass
    assert [options["share"] for options in asked] == [False, True]
    assert all(options["server_name"] == "127.0.0.1" for options in asked)


@browser_test
def test_an_occupied_port_is_one_line(predictors, served):
    port = int(served[0].rstrip("/").rpartition(":")[2])
    with pytest.raises(EngineError, match=f"port {port} is taken"):
        with demo_server.serve(demo_page.build_page(predictors, {}), port):
            pass


def test_ctrl_c_and_sigterm_end_the_wait():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            timer = threading.Timer(0.1, os.kill, (os.getpid(), number))
            timer.start()
            demo.wait_for_a_signal()
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


@pytest.mark.parametrize("words, message", [
    (["a", "a"], "a is given twice"), (["a", "--port", "0"], "--port=0 must be"), ([], "required"),
    (["gone"], "gone does not exist")])
def test_mistakes_are_one_line(words, message, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    with pytest.raises(EngineError, match=message) as caught:
        demo.main(words)
    assert "\n" not in str(caught.value)


def test_without_gradio_the_command_names_the_package_to_install(monkeypatch):
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "engine.inference.demo_page")
    with pytest.raises(EngineError, match=r"the gradio package: pip install 'cadence-train\[demo\]'"):
        demo.main(["gone"])


def test_samples_are_one_of_each_class_and_none_without_data(predictors, tmp_path):
    shapes = open_source("shapes", resolution=16, test_count=100)
    run = colours_run(tmp_path / "a", **{"data.test_count": 100})
    samples = one_per_class(open_trained(str(run), device="cpu"))
    split = shapes.read("test")
    assert [name for _, name in samples] == list(shapes.class_names)
    for label, (image, _) in enumerate(samples):
        assert np.array_equal(image, split.images_nhwc[np.argmax(split.labels == label)])
    elsewhere = {"data.name": "cifar10", "data.root": str(tmp_path / "gone"), "data.download": True}
    without = colours_run(tmp_path / "b", **elsewhere)
    assert one_per_class(open_trained(str(without), device="cpu")) == [] and not (tmp_path / "gone").exists()
