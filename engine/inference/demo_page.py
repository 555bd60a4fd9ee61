"""The demo's page, in Gradio: a picture in, what the network says of it out."""

import html
import importlib.util
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from functools import partial
from pathlib import Path

import numpy as np

from engine.common.errors import EngineError
from engine.inference.gradcam import overlays
from engine.inference.picture_input import file_content
from engine.inference.predictor import NOT_FINITE, Prediction, Predictor

try:
    import gradio as gr
except ImportError:
    raise EngineError("the demo needs the gradio package: pip install 'cadence-train[demo]'") from None

MAX_UPLOAD_BYTES = 20 << 20
MAX_UPLOAD_PIXELS = 25_000_000
MAX_ANSWER_S = 30.0
# Visitors who may wait at a time.
MAX_WAITING = 16
# Files that visitors sent go after this long.
KEPT_S = 3600
MOST_BARS = 20
SHOWN_PX = 256

STYLE = """
#told {font-size: 1.25rem; min-height: 2rem}
#told .bad {color: #b42318; overflow-wrap: anywhere}
#samples img, #picture img {image-rendering: pixelated}
#samples .fixed-height {min-height: 0}
#picture img {width: 100%; height: 100%; object-fit: contain}
@media (max-width: 700px) {
  #samples .grid-container {grid-template-columns: repeat(auto-fill, minmax(80px, 1fr)) !important}
}
"""
# A file that the browser cannot draw (TIFF; no picture at all) leaves the frame empty instead of a broken one.
SCRIPT = """<script>
for (const [event, look] of [["error", "hidden"], ["load", "visible"]])
  document.addEventListener(event, ({target}) => {
    if (target instanceof HTMLImageElement && target.closest("#picture")) target.style.visibility = look;
  }, true);
</script>"""
ABOUT = (f"Up to {MAX_UPLOAD_BYTES >> 20} MB and {MAX_UPLOAD_PIXELS // 10**6} million pixels. Pictures are fitted "
         "to the square that the network takes, and deleted when the page ends at the latest.")

Sample = tuple[np.ndarray, str]
Upload = tuple[Path | None, str]


def build_page(predictors: Mapping[str, Predictor], samples: Mapping[str, Sequence[Sample]]) -> gr.Blocks:
    """The page for networks by their names; `samples`: for some names, images (H, W, 3) uint8 with their classes."""
    names = list(predictors)
    maps = importlib.util.find_spec("pytorch_grad_cam") is not None
    # One at a time: GradCAM hangs hooks into the network while it works.
    worker = ThreadPoolExecutor(max_workers=1)

    def respond(name: str, upload: Upload | None) -> list:
        if upload is None:
            return cleared("")
        working = worker.submit(work_out, predictors[name], upload, maps)
        try:
            return shown(*working.result(timeout=MAX_ANSWER_S))
        except EngineError as error:
            return cleared(str(error))
        except TookTooLong:
            # One that has not begun would keep the next visitors waiting for nobody.
            working.cancel()
            return cleared(f"This took longer than {MAX_ANSWER_S:.0f} s: try a smaller picture, or again later.")

    def choose(name: str) -> list[Sample]:
        return list(samples.get(name, ()))

    def take(name: str, chosen: gr.SelectData) -> np.ndarray:
        return samples[name][chosen.index][0]

    with gr.Blocks(title="Cadence", analytics_enabled=False, delete_cache=(KEPT_S, KEPT_S)) as page:
        gr.Markdown("# What does this picture show?")
        with gr.Row():
            with gr.Column():
                network = gr.Dropdown(names, value=names[0], label="Network", visible=len(names) > 1,
                                      elem_id="network")
                # PNG: the samples' pixels must arrive as they are.
                picture = gr.Image(label="Picture: drop, paste or choose one", sources=["upload", "clipboard"],
                                   type="filepath", format="png", height=320, elem_id="picture", buttons=[])
                gr.Markdown(ABOUT)
                offered = any(samples.values())
                gr.Markdown("Samples from the test set:", visible=offered)
                gallery = gr.Gallery(choose(names[0]), show_label=False, columns=4, height="auto",
                                     object_fit="contain", allow_preview=False, interactive=False, format="png",
                                     visible=offered, elem_id="samples", buttons=[])
            with gr.Column():
                told = gr.HTML(elem_id="told")
                bars = gr.Label(label="Probabilities", num_top_classes=MOST_BARS, show_heading=False,
                                elem_id="bars")
                with gr.Row():
                    seen = gr.Image(label="What the network sees", interactive=False, format="png", height=300,
                                    elem_id="seen", buttons=[])
                    looked = gr.Image(label="Where it looks (GradCAM)", interactive=False, format="png", height=300,
                                      visible=maps, elem_id="looked", buttons=[])
                if not maps:
                    gr.Markdown("GradCAM overlays need the grad-cam package: `pip install 'cadence-train[cam]'`")
                table = gr.Dataframe(headers=["class", "probability (%)"], datatype=["str", "number"],
                                     interactive=False, label="All classes: ⋮ in a heading sorts",
                                     max_height=420, elem_id="table", buttons=[])
        # The file as it came: Gradio would decode it first, in its own way and without these limits.
        picture.preprocess = partial(uploaded, Path(picture.GRADIO_CACHE))
        quiet = {"api_visibility": "private", "show_progress": "hidden"}
        results = [told, bars, seen, looked, table]
        picture.change(respond, [network, picture], results, **quiet)
        network.change(respond, [network, picture], results, **quiet)
        network.change(choose, network, gallery, **quiet)
        gallery.select(take, network, picture, **quiet)
    return page.queue(max_size=MAX_WAITING, api_open=False)


def uploaded(folder: Path, payload: object) -> Upload | None:
    """The file that Gradio's payload names, with the visitor's name for it; None where there is none.

    Only a file in `folder`, where uploads go, is one: a request may name any path.
    """
    if payload is None:
        return None
    path = Path(payload.path or "").resolve()
    return (path if path.is_relative_to(folder.resolve()) else None), payload.orig_name or "the picture"


def work_out(predictor: Predictor, upload: Upload, maps: bool) -> tuple[Prediction, np.ndarray | None, str]:
    """The answer to an uploaded file, the GradCAM overlay (H, W, 3) where `maps`, and why there is none where it
    cannot be drawn; EngineError for a bad file, and where the network's answer is not finite."""
    path, name = upload
    if path is None or not path.is_file():
        raise EngineError(f"{name}: is no uploaded file, or no longer: drop or choose it again")
    content = file_content(path, MAX_UPLOAD_BYTES)
    pixels = predictor.pixels(content, name, max_bytes=MAX_UPLOAD_BYTES, max_pixels=MAX_UPLOAD_PIXELS)
    answer = predictor.answers([pixels])[0]
    if not answer.finite:
        raise EngineError(NOT_FINITE)
    try:
        return answer, overlays(predictor.trained, answer.seen_hwc[None])[0] if maps else None, ""
    except EngineError as error:
        return answer, None, str(error)


def shown(answer: Prediction, map_hwc: np.ndarray | None, without_map: str = "") -> list:
    """The five results for an answer; `without_map`: why there is no overlay."""
    ranked = answer.top(len(answer.class_names))
    told = f"<b>{html.escape(answer.label)}</b>, {answer.confidence:.1%} sure"
    told += f"<br><small>{html.escape(without_map)}</small>" if without_map else ""
    highest = f": the highest {MOST_BARS}" if len(ranked) > MOST_BARS else ""
    bars = gr.update(value=dict(ranked), label=f"Probabilities{highest}")
    return [told, bars, enlarged(answer.seen_hwc), None if map_hwc is None else enlarged(map_hwc),
            [[label, round(100 * share, 3)] for label, share in ranked]]


def cleared(sentence: str) -> list:
    """The five results where there is no answer: the sentence that says why, and nothing."""
    return [f'<span class="bad" role="alert">{html.escape(sentence)}</span>' if sentence else "", None, None, None, []]


def enlarged(image_hwc: np.ndarray) -> np.ndarray:
    """Whole multiples of uint8 (H, W, 3), about SHOWN_PX a side, so that single pixels stay sharp."""
    times = max(1, SHOWN_PX // len(image_hwc))
    return image_hwc.repeat(times, 0).repeat(times, 1)
