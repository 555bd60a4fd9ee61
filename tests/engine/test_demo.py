"""The page in a real browser: a network that names colours answers what is uploaded, and refuses what is bad."""

import os
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
from engine.inference.predictor import load
from tests.engine.colours import COLOURS, colours_run
from tests.engine.inference.test_picture_input import png, stored

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
pytest.importorskip("gradio", reason="needs the extra demo")
pytest.importorskip("pytorch_grad_cam", reason="needs the extra cam")

from engine.inference import demo_page, demo_server  # noqa: E402

# Of Gradio's own use of pandas.
pytestmark = pytest.mark.filterwarnings("ignore:.*(no_silent_downcasting|copy keyword is deprecated)")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
WAIT_MS = 120_000
# The server's real limit would take seconds to reach.
MOST_BYTES = 300 * 1024
HOSTILE = ("<b>rot</b>", "<img src=x onerror=alert(1)>", "blau & grün", "**weiß**", "schwarz", "grau")


@pytest.fixture(scope="module")
def predictors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    runs = {"colours": colours_run(folder / "a"), "Farben": colours_run(folder / "b", HOSTILE)}
    return {name: load(str(run), device="cpu") for name, run in runs.items()}


@pytest.fixture(scope="module")
def served(predictors, tmp_path_factory):
    """The page's address, and the addresses beyond this machine that its process meant to reach."""
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


@pytest.fixture
def tab(browser, served):
    """The page, loaded; at the end it must have asked this machine alone, and shown no dialog and no error."""
    address, reached = served
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
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
    page.wait_for_selector("#picture input[type=file]", state="attached", timeout=WAIT_MS)
    yield page
    page.close()
    assert not elsewhere and not wrong and not reached


def send(page, name, content):
    """Upload a file and wait until the page tells something of it."""
    page.set_input_files("#picture input[type=file]", {"name": name, "mimeType": "image/png", "buffer": content})


def told(page, part):
    page.wait_for_function("part => document.querySelector('#told').innerText.includes(part)", arg=part,
                           timeout=WAIT_MS)
    return page.inner_text("#told")


def clear(page):
    """Take the picture away."""
    page.click("#picture button[aria-label='Remove Image']")
    page.wait_for_function("document.querySelector('#told').innerText.trim() === ''", timeout=WAIT_MS)
    page.wait_for_selector("#picture input[type=file]", state="attached", timeout=WAIT_MS)


def column(page, number):
    return [cell.inner_text() for cell in page.query_selector_all(f"#table [role=gridcell][aria-colindex='{number}']")]


def test_an_upload_is_answered_in_words_bars_table_and_pictures(tab, tmp_path):
    half = Image.new("RGB", (60, 60), "red")
    half.paste((120, 0, 0), (30, 0, 60, 60))
    send(tab, "red.png", stored(half))
    assert "% sure" in told(tab, "red")
    tab.wait_for_selector("#seen img")
    tab.wait_for_selector("#looked img")
    sizes = tab.eval_on_selector_all("#seen img, #looked img", "all => all.map(one => one.naturalWidth)")
    assert sizes == [256, 256]
    assert all(name in tab.inner_text("#bars") for name in COLOURS)
    tab.wait_for_selector("#table [role=gridcell]")
    shares = [float(share) for share in column(tab, 2)]
    assert sorted(column(tab, 1)) == sorted(COLOURS) and column(tab, 1)[0] == "red"
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=0.01)
    tab.screenshot(path=tmp_path / "page.png", full_page=True)
    drawn = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).reshape(-1, 3)
    assert len(drawn) > 1280 * 900 and len(np.unique(drawn, axis=0)) > 100


def test_the_table_sorts(tab):
    send(tab, "red.png", stored(Image.new("RGB", (8, 8), "red")))
    tab.wait_for_selector("#table [role=gridcell]")
    tab.hover("#table [data-testid=header-0]")
    tab.click("#table [data-testid=header-0] button[aria-label='Open cell menu']")
    tab.get_by_role("menuitem", name="Sort ascending").click()
    tab.wait_for_function("first => document.querySelector('#table [role=gridcell]').innerText === first",
                          arg="black", timeout=WAIT_MS)
    assert column(tab, 1) == sorted(COLOURS)


BAD = {
    "text.png": (b"this is no picture", "text.png: is no picture of a kind that can be read"),
    "bomb.png": (png(60_000, 60_000), "bomb.png: has more pixels than the 25,000,000 that are decoded"),
    "large.png": (png(6_000, 6_000), "large.png: has 6000 x 6000 pixels; at most 25,000,000 are decoded"),
    "cut.png": (png(20, 20, bytes(100)), "cut.png: is damaged or cut short"),
    "<i>a.png": (b"x", "a.png: is no picture"),
}


def test_a_bad_file_gets_a_sentence_and_the_next_one_an_answer(tab):
    for name, (content, sentence) in BAD.items():
        send(tab, "green.tiff", stored(Image.new("RGB", (8, 8), "lime"), "TIFF"))
        told(tab, "green")
        clear(tab)
        send(tab, name, content)
        assert "Traceback" not in told(tab, sentence)
        assert not tab.query_selector("#seen img") and not column(tab, 1)
        assert not tab.query_selector("[data-testid=toast-body]")
        clear(tab)


def test_a_file_that_is_too_large_is_refused(tab):
    send(tab, "heavy.png", bytes(MOST_BYTES + 1))
    tab.wait_for_selector("[data-testid=toast-body]", timeout=WAIT_MS)
    assert "exceed the maximum allowed size of 300" in tab.inner_text("[data-testid=toast-body]")


def test_samples_and_another_network_whose_class_names_are_hostile(tab):
    tab.wait_for_selector("#samples img")
    tab.click("#samples button >> nth=0")
    told(tab, "blue")
    tab.click("#samples button >> nth=1")
    told(tab, "green")
    tab.click("#network input")
    tab.click("[role=option] >> nth=1")
    told(tab, HOSTILE[1])
    tab.wait_for_function("document.querySelectorAll('#samples img').length === 0", timeout=WAIT_MS)
    assert HOSTILE[1] in tab.inner_text("#bars") and HOSTILE[0] in column(tab, 1)
    assert not tab.query_selector("#bars img, #table img, #told img")


def test_what_takes_too_long_is_told(tab, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(demo_page, "MAX_ANSWER_S", 0.2)
    monkeypatch.setattr(demo_page, "work_out", lambda *_: release.wait(60))
    send(tab, "red.png", stored(Image.new("RGB", (8, 8), "red")))
    try:
        told(tab, "took longer than")
    finally:
        release.set()


def test_where_no_overlay_can_be_drawn_the_answer_comes_with_the_reason(predictors, tmp_path, monkeypatch):
    def absent(*_):
        raise EngineError("GradCAM needs a layer <of maps>")

    (tmp_path / "a.png").write_bytes(stored(Image.new("RGB", (8, 8), "red")))
    assert demo_page.shown(*demo_page.work_out(predictors["colours"], (tmp_path / "a.png", "a"), True))[3] is not None
    monkeypatch.setattr(demo_page, "overlays", absent)
    told, bars, seen, looked, table = demo_page.shown(
        *demo_page.work_out(predictors["colours"], (tmp_path / "a.png", "a"), True))
    assert "red" in told and "GradCAM needs a layer &lt;of maps&gt;" in told
    assert looked is None and bars and len(table) == 6 and seen.shape == (256, 256, 3)


def test_a_network_that_diverged_says_that_it_has_no_answer(tmp_path):
    diverged = load(str(colours_run(tmp_path / "run")), device="cpu")
    next(diverged.trained.model.parameters()).fill_(float("nan"))
    (tmp_path / "a.png").write_bytes(stored(Image.new("RGB", (8, 8), "red")))
    page = demo_page.build_page({"one": diverged}, {})
    respond = next(each.fn for each in page.fns.values() if each.name == "respond")
    told, *others = respond("one", (tmp_path / "a.png", "a.png"))
    assert "no answer: not finite" in told and "sure" not in told and not any(others)


def test_the_samples_fit_a_narrow_window(tab):
    tab.set_viewport_size({"width": 390, "height": 800})
    tab.wait_for_selector("#samples img")
    columns = tab.eval_on_selector("#samples .grid-container", "grid => getComputedStyle(grid).gridTemplateColumns")
    room = tab.eval_on_selector("#samples .grid-container", "grid => grid.getBoundingClientRect().width")
    assert 2 <= len(columns.split()) and sum(float(column.removesuffix("px")) for column in columns.split()) <= room


def test_work_that_nobody_waits_for_any_more_is_not_begun(predictors, monkeypatch):
    release, begun = threading.Event(), []
    monkeypatch.setattr(demo_page, "MAX_ANSWER_S", 0.1)
    monkeypatch.setattr(demo_page, "work_out", lambda *given: (begun.append(given[1][1]), release.wait(60)))
    page = demo_page.build_page(predictors, {})
    respond = next(each.fn for each in page.fns.values() if each.name == "respond")
    for name in ("slow", "waits", "waits too"):
        assert "took longer than" in respond("colours", (None, name))[0]
    monkeypatch.setattr(demo_page, "MAX_ANSWER_S", 60)
    monkeypatch.setattr(demo_page, "shown", lambda *_: begun[:])
    release.set()
    assert respond("colours", (None, "next")) == ["slow", "next"]


def test_the_page_forbids_what_comes_from_elsewhere(served):
    policy = httpx.get(served[0]).headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http" not in policy


def test_a_request_for_another_file_of_this_machine_is_refused(predictors, tmp_path):
    from gradio.data_classes import ImageData

    (tmp_path / "uploads").mkdir()
    for folder in ("uploads", "."):
        (tmp_path / folder / "a.png").write_bytes(stored(Image.new("RGB", (8, 8), "red")))
    inside = demo_page.uploaded(tmp_path / "uploads", ImageData(path=str(tmp_path / "uploads" / "a.png")))
    assert demo_page.work_out(predictors["colours"], inside, False)[0].label == "red"
    for path in (tmp_path / "a.png", tmp_path / "uploads" / ".." / "a.png", None):
        outside = demo_page.uploaded(tmp_path / "uploads", ImageData(path=path and str(path), orig_name="a.png"))
        with pytest.raises(EngineError, match="no uploaded file"):
            demo_page.work_out(predictors["colours"], outside, False)


def test_the_door_serves_this_machine_and_leaves_nothing(tmp_path, monkeypatch, capsys):
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


def test_sharing_is_asked_for_and_a_refusal_is_one_line(predictors, monkeypatch):
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


def test_a_port_that_is_taken_is_one_line(predictors, served):
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


def test_without_gradio_the_door_says_what_to_install(monkeypatch):
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "engine.inference.demo_page")
    with pytest.raises(EngineError, match=r"the gradio package: pip install 'cadence-train\[demo\]'"):
        demo.main(["gone"])


def test_samples_are_one_of_each_class_and_none_without_data(predictors, tmp_path):
    from engine.inference.demo_samples import samples_of
    from engine.inference.trained import open_trained
    from loaders.sources.open import open_source

    shapes = open_source("shapes", resolution=16, test_count=100)
    run = colours_run(tmp_path / "a", **{"data.test_count": 100})
    samples = samples_of(open_trained(str(run), device="cpu"))
    split = shapes.read("test")
    assert [name for _, name in samples] == list(shapes.class_names)
    for label, (image, _) in enumerate(samples):
        assert np.array_equal(image, split.images_nhwc[np.argmax(split.labels == label)])
    elsewhere = {"data.name": "cifar10", "data.root": str(tmp_path / "gone"), "data.download": True}
    without = colours_run(tmp_path / "b", **elsewhere)
    assert samples_of(open_trained(str(without), device="cpu")) == [] and not (tmp_path / "gone").exists()
