"""The demo's page, in Gradio: an image in, the network's prediction out."""

import concurrent.futures
import html
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from engine.common.errors import EngineError
from engine.common.optional import import_extra, is_installed
from engine.inference.gradcam import overlays
from engine.inference.image_input import file_content
from engine.inference.predictor import NOT_FINITE, Prediction, Predictor

gr = import_extra("gradio", "the demo", "demo")

MAX_UPLOAD_BYTES = 20 << 20
MAX_UPLOAD_PIXELS = 25_000_000
MAX_WAIT_S = 30.0
MAX_WAITING_VISITORS = 16
# Uploads are deleted after this long.
KEPT_S = 3600
MOST_BARS = 20
SHOWN_PX = 256

STYLE = """
#prediction {font-size: 1.25rem; min-height: 2rem}
#prediction .bad {color: #b42318; overflow-wrap: anywhere}
#samples img, #upload img {image-rendering: pixelated}
#samples .fixed-height {min-height: 0}
#upload img {width: 100%; height: 100%; object-fit: contain}
@media (max-width: 700px) {
  #samples .grid-container {grid-template-columns: repeat(auto-fill, minmax(80px, 1fr)) !important}
}
"""
# For a file that the browser cannot draw (TIFF; not an image), show an empty frame instead of a broken image.
SCRIPT = """<script>
for (const [event, look] of [["error", "hidden"], ["load", "visible"]])
  document.addEventListener(event, ({target}) => {
    if (target instanceof HTMLImageElement && target.closest("#upload")) target.style.visibility = look;
  }, true);
</script>"""
ABOUT = (f"Up to {MAX_UPLOAD_BYTES >> 20} MB and {MAX_UPLOAD_PIXELS // 10**6} million pixels. Pictures are fitted to "
         "the network's square, and deleted at the latest when the page closes.")

Upload = tuple[Path | None, str]


def build_page(predictors: Mapping[str, Predictor],
               samples: Mapping[str, Sequence[tuple[np.ndarray, str]]]) -> gr.Blocks:
    """The page for networks by their names; `samples`: name -> uint8 images (H, W, 3) with their classes."""
    names = list(predictors)
    has_gradcam = is_installed("pytorch_grad_cam")
    # One at a time: GradCAM registers hooks on the network while it works.
    worker = concurrent.futures.ThreadPoolExecutor(max_workers=1)

    def respond(name: str, upload: Upload | None) -> list:
        if upload is None:
            return no_results("")
        working = worker.submit(predict_upload, predictors[name], upload, has_gradcam)
        try:
            return results_of(*working.result(timeout=MAX_WAIT_S))
        except EngineError as error:
            return no_results(str(error))
        except concurrent.futures.TimeoutError:
            # Unless it has started, it would delay other visitors although nobody waits for it.
            working.cancel()
            return no_results(f"This took longer than {MAX_WAIT_S:.0f} s: try a smaller picture, or again later.")

    def samples_for(name: str) -> list:
        return list(samples.get(name, ()))

    def take_sample(name: str, chosen: gr.SelectData) -> np.ndarray:
        return samples[name][chosen.index][0]

    image = partial(gr.Image, interactive=False, format="png", height=300, buttons=[])
    with gr.Blocks(title="Cadence", analytics_enabled=False, delete_cache=(KEPT_S, KEPT_S)) as page:
        gr.Markdown("# What does this picture show?")
        with gr.Row():
            with gr.Column():
                network = gr.Dropdown(names, value=names[0], label="Network", visible=len(names) > 1,
                                      elem_id="network")
                # PNG keeps the pixels of the samples.
                picked = gr.Image(label="Picture: drop, paste or choose one", sources=["upload", "clipboard"],
                                  type="filepath", format="png", height=320, elem_id="upload", buttons=[])
                gr.Markdown(ABOUT)
                offered = any(samples.values())
                gr.Markdown("Samples from the test set:", visible=offered)
                gallery = gr.Gallery(samples_for(names[0]), show_label=False, columns=4, height="auto",
                                     object_fit="contain", allow_preview=False, interactive=False, format="png",
                                     visible=offered, elem_id="samples", buttons=[])
            with gr.Column():
                sentence = gr.HTML(elem_id="prediction")
                bars = gr.Label(label="Probabilities", num_top_classes=MOST_BARS, show_heading=False,
                                elem_id="bars")
                with gr.Row():
                    seen = image(label="What the network sees", elem_id="seen")
                    overlay = image(label="Where it looks (GradCAM)", visible=has_gradcam, elem_id="gradcam")
                if not has_gradcam:
                    gr.Markdown("GradCAM overlays need the grad-cam package: `pip install 'cadence-train[cam]'`")
                table = gr.Dataframe(headers=["class", "probability (%)"], datatype=["str", "number"],
                                     interactive=False, label="All classes: ⋮ in a heading sorts",
                                     max_height=420, elem_id="table", buttons=[])
        # Take the file as uploaded: Gradio would decode it first, without these limits.
        picked.preprocess = partial(uploaded, Path(picked.GRADIO_CACHE))
        quiet = {"api_visibility": "private", "show_progress": "hidden"}
        for changed in (picked, network):
            changed.change(respond, [network, picked], [sentence, bars, seen, overlay, table], **quiet)
        network.change(samples_for, network, gallery, **quiet)
        gallery.select(take_sample, network, picked, **quiet)
    return page.queue(max_size=MAX_WAITING_VISITORS, api_open=False)


def uploaded(folder: Path, payload: object) -> Upload | None:
    """(the uploaded file, the visitor's name for it); None without a payload."""
    if payload is None:
        return None
    path = Path(payload.path or "").resolve()
    # A request may name any path: accept only files in `folder`, where uploads go.
    return (path if path.is_relative_to(folder.resolve()) else None), payload.orig_name or "the image"


def predict_upload(predictor: Predictor, upload: Upload,
                   with_gradcam: bool) -> tuple[Prediction, np.ndarray | None, str]:
    """(the prediction, its overlay (H, W, 3) or None, why there is none or ""); EngineError if not predicted."""
    path, name = upload
    if path is None or not path.is_file():
        raise EngineError(f"{name}: is not an uploaded file, or no longer there: drop or choose it again")
    content = file_content(path, MAX_UPLOAD_BYTES)
    pixels = predictor.pixels(content, name, max_bytes=MAX_UPLOAD_BYTES, max_pixels=MAX_UPLOAD_PIXELS)
    prediction = predictor.predict([pixels])[0]
    if not prediction.finite:
        raise EngineError(NOT_FINITE)
    try:
        return prediction, overlays(predictor.trained, prediction.seen_hwc[None])[0] if with_gradcam else None, ""
    except EngineError as error:
        return prediction, None, str(error)


def results_of(prediction: Prediction, overlay_hwc: np.ndarray | None, without_overlay: str = "") -> list:
    """The page's five results; `without_overlay`: why there is no overlay."""
    ranked = prediction.top(len(prediction.class_names))
    sentence = f"<b>{html.escape(prediction.label)}</b>, {prediction.confidence:.1%} sure"
    sentence += f"<br><small>{html.escape(without_overlay)}</small>" if without_overlay else ""
    highest = f": the highest {MOST_BARS}" if len(ranked) > MOST_BARS else ""
    bars = gr.update(value=dict(ranked), label=f"Probabilities{highest}")
    return [sentence, bars, enlarged(prediction.seen_hwc), None if overlay_hwc is None else enlarged(overlay_hwc),
            [[label, round(100 * share, 3)] for label, share in ranked]]


def no_results(reason: str) -> list:
    """The page's five results if there is no prediction: the reason alone."""
    return [f'<span class="bad" role="alert">{html.escape(reason)}</span>' if reason else "", None, None, None, []]


def enlarged(image_hwc: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) enlarged by a whole factor to about SHOWN_PX per side, so that pixels stay sharp."""
    times = max(1, SHOWN_PX // len(image_hwc))
    return image_hwc.repeat(times, 0).repeat(times, 1)
