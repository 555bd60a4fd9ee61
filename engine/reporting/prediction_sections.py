"""The report's chapters that tell of the network's answers: each a function of what was found, to a Section.

Each also writes its picture as a PNG.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.common.errors import EngineError
from engine.inference.feature_maps import feature_maps
from engine.inference.gradcam import overlays
from engine.inference.held_out import HeldOut, Predictions
from engine.inference.trained import Trained
from engine.plots import bars
from engine.plots.confusion import write_confusion
from engine.plots.figure import write_png
from engine.plots.image_grids import Card, Strip, cards_figure, coloured, in_a_row, strips_figure
from engine.reporting import charts
from engine.reporting.html_page import Cards, Chart, Heading, Note, Section, Strips, Table

RANDOM = 8
MISTAKES = 12
LOOKED_AT = 6
PAIRS, EXAMPLES_A_PAIR = 8, 6
MAPPED = 2


@dataclass(frozen=True)
class Found:
    """What a run's answers on held-out images are told from; plots: the folder for PNGs."""

    trained: Trained
    held: HeldOut
    answers: Predictions
    plots: Path
    seed: int

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, by number."""
        return self.trained.class_names

    def card(self, which: int, image_hwc: np.ndarray) -> Card:
        """An image with its true and predicted class."""
        label, predicted = int(self.answers.labels[which]), int(self.answers.predicted[which])
        if predicted < 0:
            return Card(image_hwc, (f"true: {self.class_names[label]}", "no answer: not finite"), "wrong")
        lines = (f"true: {self.class_names[label]}", f"predicted: {self.class_names[predicted]}",
                 f"{100 * self.answers.probabilities[which, predicted]:.1f} % sure")
        return Card(image_hwc, lines, "right" if label == predicted else "wrong")

    def random(self, count: int) -> np.ndarray:
        """Positions of up to so many different images, int64, a function of the run's seed; fewer are the first of
        more."""
        return np.random.default_rng(self.seed).permutation(len(self.answers.labels))[:count]


def per_class(found: Found) -> Section:
    """Accuracy of each class, worst first."""
    result, split = found.answers.result, found.held.split
    write_png(bars.per_class_figure(result.per_class, found.class_names, split), found.plots / "per_class.png")
    totals = np.bincount(found.answers.labels, minlength=len(found.class_names))
    return Section("per_class", "Classes, worst first",
                   [Chart("per_class_chart", charts.per_class_chart(result.per_class, totals, found.class_names))],
                   f"Share of each class's {split} images that are classified right.")


def confusion(found: Found) -> Section:
    """The confusion matrix, and the pairs most confused with examples."""
    result, names = found.answers.result, found.class_names
    write_confusion(result.confusion, names, found.plots)
    parts = [Chart("confusion_chart", charts.confusion_chart(result.confusion, names))]
    if result.nonfinite:
        parts.insert(0, Note(f"{result.nonfinite:,} of {result.count:,} images have no answer, their logits are not "
                             "finite: they are in no column."))
    pairs = confused_pairs(found.answers)
    if pairs:
        chosen = [np.flatnonzero((found.answers.labels == true) & (found.answers.predicted == predicted))
                  for true, predicted, _ in pairs]
        chosen = [which[np.argsort(-found.answers.probabilities[which, predicted], kind="stable")][:EXAMPLES_A_PAIR]
                  for which, (_, predicted, _) in zip(chosen, pairs, strict=True)]
        images = np.split(found.held.images(np.concatenate(chosen)), np.cumsum([len(which) for which in chosen])[:-1])
        totals = result.confusion.sum(1)
        strips = [Strip(f"{names[true]} taken for {names[predicted]}: {count} of {totals[true]} images "
                        f"({100 * count / totals[true]:.1f} %)", list(shown))
                  for (true, predicted, count), shown in zip(pairs, images, strict=True)]
        write_png(strips_figure(strips, "Most confused pairs"), found.plots / "confused_pairs.png")
        parts += [Heading("Most confused pairs, their most confident examples first"), Strips(strips)]
    else:
        parts.append(Note("No two classes were confused."))
    return Section("confusion", "Confusion", parts, "Drag over the matrix to zoom, double-click to zoom out, point at "
                   "a cell for its names and count. Colours are shares of the true class.")


def confused_pairs(answers: Predictions, most: int = PAIRS) -> list[tuple[int, int, int]]:
    """(true, predicted, images) of the pairs of classes confused most often, the first classes first among equals."""
    matrix = answers.result.confusion.copy()
    np.fill_diagonal(matrix, 0)
    order = np.argsort(-matrix, axis=None, kind="stable")[:most]
    rows, columns = np.unravel_index(order, matrix.shape)
    return [(int(row), int(column), int(matrix[row, column])) for row, column in zip(rows, columns, strict=True)
            if matrix[row, column]]


def predictions(found: Found) -> Section:
    """Random predictions, and the mistakes the network is surest of."""
    which = found.random(RANDOM)
    cards = [found.card(*pair) for pair in zip(which, found.held.images(which), strict=True)]
    write_png(cards_figure(cards, f"Random {found.held.split} images"), found.plots / "predictions.png")
    parts = [Heading(f"{len(cards)} random {found.held.split} images"), Cards(cards),
             Heading("Most confident mistakes")]
    which = confident_mistakes(found.answers)
    if len(which):
        cards = [found.card(*pair) for pair in zip(which, found.held.images(which), strict=True)]
        write_png(cards_figure(cards, "Most confident mistakes"), found.plots / "mistakes.png")
        parts.append(Cards(cards))
    else:
        parts.append(Note(f"There are none: every {found.held.split} image that has an answer is classified right."))
    return Section("predictions", "Predictions", parts, f"Drawn with the run's seed, {found.seed}. How sure it is: the "
                   "probability that the network gives its answer.")


def confident_mistakes(answers: Predictions, most: int = MISTAKES) -> np.ndarray:
    """int64: the wrong answers by falling confidence."""
    wrong = np.flatnonzero(answers.finite & (answers.predicted != answers.labels))
    confidence = answers.probabilities[wrong, answers.predicted[wrong]]
    return wrong[np.argsort(-confidence, kind="stable")][:most]


def looks(found: Found) -> Section:
    """GradCAM overlays of some images: where the evidence for the predicted class lies."""
    which = found.random(LOOKED_AT)
    images = found.held.images(which)
    title, about = "Where it looks", ("GradCAM at the last feature map: red is what spoke most for the predicted "
                                      "class, blue what did not.")
    try:
        over = overlays(found.trained, images, np.maximum(found.answers.predicted[which], 0).tolist())
    except EngineError as error:
        return Section("gradcam", title, [Note(str(error))], about)
    cards = []
    for position, image, overlay in zip(which, images, over, strict=True):
        card = found.card(position, image)
        cards.append(Card(in_a_row([image, overlay]), card.lines, card.mark))
    write_png(cards_figure(cards, "GradCAM of the predicted class", columns=3), found.plots / "gradcam.png")
    return Section("gradcam", title, [Cards(cards)], about)


def layers(found: Found) -> Section:
    """Feature maps of an early, a middle and a late layer."""
    images = found.held.images(found.random(MAPPED))
    title = "Feature maps"
    try:
        found_maps = feature_maps(found.trained.model,
                                  found.trained.to_input(torch.from_numpy(images).to(found.trained.device)))
    except EngineError as error:
        return Section("feature_maps", title, [Note(str(error))])
    strips = []
    for number, image in enumerate(images):
        for maps in found_maps:
            shown = [enlarged(coloured(channel), image.shape[0]) for channel in maps.maps_bchw[number]]
            side = maps.maps_bchw.shape[2]
            strips.append(Strip(f"{maps.place}: {maps.layer}, {len(shown)} of {maps.channels} channels of {side} × "
                                f"{side}", [image, *shown]))
    write_png(strips_figure(strips, title), found.plots / "feature_maps.png")
    return Section("feature_maps", title, [Strips(strips)], "What layers make of the first image and of the second: "
                   "the channels that vary most, each from its lowest value (dark) to its highest (yellow).")


def enlarged(image_hwc: np.ndarray, side_px: int) -> np.ndarray:
    """A square image at `side_px`, each pixel repeated or left out."""
    places = np.arange(side_px) * len(image_hwc) // side_px
    return image_hwc[places][:, places]


def calibration(found: Found) -> Section:
    """Whether the network is as often right as it says."""
    result = found.answers.result
    bins = (result.bin_count, result.bin_accuracy, result.bin_confidence)
    write_png(bars.calibration_figure(*bins, result.ece), found.plots / "calibration.png")
    means = f"mean confidence {mean_confidence(found.answers):.2%}, accuracy {result.top1:.2%}"
    rows = [("expected calibration error", f"{result.ece:.2%}"), ("over all", means)]
    chart = Chart("calibration_chart", charts.calibration_chart(*bins))
    return Section("calibration", "Calibration", [Table(rows), chart],
                   "Answers in bins of their confidence: below the dotted line the network is surer than it is right.")


def mean_confidence(answers: Predictions) -> float:
    """The mean probability of the predicted class, over the images that have an answer; NaN without any."""
    likeliest = answers.probabilities.max(1)[answers.finite]
    return float(likeliest.mean()) if len(likeliest) else float("nan")


CHAPTERS: Sequence = (per_class, confusion, predictions, looks, layers, calibration)
# For a run whose answers cannot be had: the chapters' names, with one reason in place of all.
WITHOUT = "Classes, confusion, predictions, GradCAM, feature maps and calibration"
