"""The report's sections on the network's predictions: functions from `ReportData` to a Section that also write PNGs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.common.errors import EngineError
from engine.common.text import percent
from engine.inference.feature_maps import feature_maps
from engine.inference.gradcam import overlays
from engine.inference.held_out import HeldOut, Predictions
from engine.inference.trained import Trained
from engine.plots.bars import calibration_spec, per_class_figure
from engine.plots.confusion import write_confusion
from engine.plots.figure import draw, write_png
from engine.plots.image_grids import Card, Strip, cards_figure, coloured, in_a_row, strips_figure
from engine.reporting.confusion_charts import confusion_chart, per_class_chart
from engine.reporting.html_page import Cards, Chart, Heading, Note, Section, Strips, Table
from engine.reporting.panel_charts import chart

RANDOM = 8
MISTAKES = 12
GRADCAMS = 6
PAIRS, EXAMPLES_PER_PAIR = 8, 6
MAPPED = 2


@dataclass(frozen=True)
class ReportData:
    """A network and its predictions on held-out images; plots: the folder for PNGs."""

    trained: Trained
    held_out: HeldOut
    predictions: Predictions
    plots: Path
    seed: int

    def card(self, which: int, image_hwc: np.ndarray) -> Card:
        """An image with its true and predicted class."""
        label, predicted = int(self.predictions.labels[which]), int(self.predictions.predicted[which])
        names = self.trained.class_names
        true = f"true: {names[label]}"
        if predicted < 0:
            return Card(image_hwc, (true, "no prediction: not finite"), "wrong")
        lines = (true, f"predicted: {names[predicted]}",
                 f"{100 * self.predictions.probabilities[which, predicted]:.1f} % sure")
        return Card(image_hwc, lines, "right" if label == predicted else "wrong")

    def cards(self, which: np.ndarray, png_name: str, title: str) -> Cards:
        """The cards of `which` images, also written as PNG."""
        cards = [self.card(*pair) for pair in zip(which, self.held_out.images(which), strict=True)]
        write_png(cards_figure(cards, title), self.plots / png_name)
        return Cards(cards)

    def strips(self, strips: list[Strip], png_name: str, title: str) -> Strips:
        """The strips, also written as PNG."""
        write_png(strips_figure(strips, title), self.plots / png_name)
        return Strips(strips)

    def random(self, count: int) -> np.ndarray:
        """int64: positions of up to `count` different images, drawn with the run's seed; larger draws extend it."""
        return np.random.default_rng(self.seed).permutation(len(self.predictions.labels))[:count]


def per_class(data: ReportData) -> Section:
    """Accuracy of each class, worst first."""
    accuracy, split, names = data.predictions.result.per_class, data.held_out.split, data.trained.class_names
    picture = write_png(per_class_figure(accuracy, names, split), data.plots / "per_class.png").read_bytes()
    totals = np.bincount(data.predictions.labels, minlength=len(names))
    return Section("per_class", "Classes, worst first",
                   [Chart("per_class_chart", per_class_chart(accuracy, totals, names), picture)],
                   f"Share of each class's {split} images that are classified right.")


def confusion(data: ReportData) -> Section:
    """The confusion matrix, and examples of the most confused pairs."""
    result, names, predictions = data.predictions.result, data.trained.class_names, data.predictions
    _, picture = write_confusion(result.confusion, names, data.plots)
    parts = [Chart("confusion_chart", confusion_chart(result.confusion, names), picture.read_bytes())]
    if result.nonfinite:
        parts.insert(0, Note(f"{result.nonfinite:,} of {result.count:,} images have no prediction, as their logits "
                             "are not finite: no column counts them."))
    pairs = confused_pairs(predictions)
    if pairs:
        chosen = [np.flatnonzero((predictions.labels == true) & (predictions.predicted == predicted))
                  for true, predicted, _ in pairs]
        chosen = [which[np.argsort(-predictions.probabilities[which, predicted], kind="stable")][:EXAMPLES_PER_PAIR]
                  for which, (_, predicted, _) in zip(chosen, pairs, strict=True)]
        ends = np.cumsum([len(which) for which in chosen])
        images = np.split(data.held_out.images(np.concatenate(chosen)), ends[:-1])
        totals = result.confusion.sum(1)
        strips = [Strip(f"{names[true]} taken for {names[predicted]}: {count} of {totals[true]} images "
                        f"({100 * count / totals[true]:.1f} %)", list(shown))
                  for (true, predicted, count), shown in zip(pairs, images, strict=True)]
        parts += [Heading("Most confused pairs, their most confident examples first"),
                  data.strips(strips, "confused_pairs.png", "Most confused pairs")]
    else:
        parts.append(Note("No two classes were confused."))
    return Section("confusion", "Confusion", parts, "Drag over the matrix to zoom, double-click to zoom out, hover "
                   "over a cell for its names and count. Colours are shares of the true class.")


def confused_pairs(predictions: Predictions, most: int = PAIRS) -> list[tuple[int, int, int]]:
    """(true, predicted, images) of the most confused pairs of classes, ties in class order."""
    matrix = predictions.result.confusion.copy()
    np.fill_diagonal(matrix, 0)
    order = np.argsort(-matrix, axis=None, kind="stable")[:most]
    rows, columns = np.unravel_index(order, matrix.shape)
    return [(int(row), int(column), int(matrix[row, column])) for row, column in zip(rows, columns, strict=True)
            if matrix[row, column]]


def predictions(data: ReportData) -> Section:
    """Random predictions, and the network's most confident mistakes."""
    which, split = data.random(RANDOM), data.held_out.split
    parts = [Heading(f"{len(which)} random {split} images"),
             data.cards(which, "predictions.png", f"Random {split} images"), Heading("Most confident mistakes")]
    mistakes = confident_mistakes(data.predictions)
    parts.append(data.cards(mistakes, "mistakes.png", "Most confident mistakes") if len(mistakes) else
                 Note(f"There are none: every {split} image that has a prediction is classified right."))
    return Section("predictions", "Predictions", parts, f"Random draws use the run's seed, {data.seed}. The percentage "
                   "is the probability of the predicted class.")


def confident_mistakes(predictions: Predictions, most: int = MISTAKES) -> np.ndarray:
    """int64: the positions of wrong predictions by falling confidence."""
    wrong = np.flatnonzero(predictions.finite & (predictions.predicted != predictions.labels))
    confidence = predictions.probabilities[wrong, predictions.predicted[wrong]]
    return wrong[np.argsort(-confidence, kind="stable")][:most]


def gradcam(data: ReportData) -> Section:
    """GradCAM overlays of some images: where the evidence for the predicted class lies."""
    which = data.random(GRADCAMS)
    images = data.held_out.images(which)
    title, about = "Where it looks", ("GradCAM at the last feature map: red is the strongest evidence for the "
                                      "predicted class, blue is none.")
    try:
        over = overlays(data.trained, images, np.maximum(data.predictions.predicted[which], 0).tolist())
    except EngineError as error:
        return Section("gradcam", title, [Note(str(error))], about)
    cards = []
    for position, image, overlay in zip(which, images, over, strict=True):
        card = data.card(position, image)
        cards.append(Card(in_a_row([image, overlay]), card.lines, card.mark))
    write_png(cards_figure(cards, "GradCAM of the predicted class", columns=3), data.plots / "gradcam.png")
    return Section("gradcam", title, [Cards(cards)], about)


def layers(data: ReportData) -> Section:
    """Feature maps of an early, a middle and a late layer."""
    images = data.held_out.images(data.random(MAPPED))
    title = "Feature maps"
    try:
        layer_maps = feature_maps(data.trained.model,
                                  data.trained.to_input(torch.from_numpy(images).to(data.trained.device)))
    except EngineError as error:
        return Section("feature_maps", title, [Note(str(error))])
    strips = []
    for number, image in enumerate(images):
        for maps in layer_maps:
            shown = [enlarged(coloured(channel), image.shape[0]) for channel in maps.maps_bchw[number]]
            side = maps.maps_bchw.shape[2]
            strips.append(Strip(f"{maps.place}: {maps.layer}, {len(shown)} of {maps.channels} channels of {side} × "
                                f"{side}", [image, *shown]))
    return Section("feature_maps", title, [data.strips(strips, "feature_maps.png", title)], "Layers' outputs for two "
                   "images: the channels that vary most, each from its lowest value (dark) to its highest (yellow).")


def enlarged(image_hwc: np.ndarray, side_px: int) -> np.ndarray:
    """A square image at `side_px`, by repeating or omitting pixels."""
    places = np.arange(side_px) * len(image_hwc) // side_px
    return image_hwc[places][:, places]


def calibration(data: ReportData) -> Section:
    """Whether the network is right as often as its confidence says."""
    result = data.predictions.result
    likeliest = data.predictions.probabilities.max(1)[data.predictions.finite]
    spec = calibration_spec(result.bin_count, result.bin_accuracy, result.bin_confidence, result.ece)
    picture = write_png(draw(spec), data.plots / "calibration.png").read_bytes()
    rows = [("expected calibration error", percent(result.ece)),
            ("over all", f"mean confidence {percent(likeliest.mean())}, accuracy {percent(result.top1)}")]
    return Section("calibration", "Calibration", [Table(rows), Chart("calibration_chart", chart(spec), picture)],
                   "Predictions in bins of their confidence: below the dotted line the network is more confident than "
                   "it is accurate.")


SECTIONS = (per_class, confusion, predictions, gradcam, layers, calibration)
