"""Some of a data set's images, unaugmented, to check or to try a trained network on."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch

from engine.build.datasets import OnWarning, open_data
from engine.build.devices import place_threads
from engine.build.preflight import evaluation_policy_of
from engine.build.splits import evaluated_split
from engine.inference.trained import Trained
from loaders.beton.cache import Beton
from loaders.common.errors import DataError
from loaders.feeds.build import Place, plain_feed
from recipes.settings.load import Recipe

CALIBRATION_IMAGES = 512
MOST_CLASSES_SHOWN = 12
CPU = torch.device("cpu")


@dataclass(frozen=True)
class SampleImages:
    """Images evenly spaced over one split, as evaluation shows them: uint8 (N, side, side, 3), labels int64 (N,)."""

    split: str
    images_bhwc: torch.Tensor
    labels: torch.Tensor


def open_sample_images(trained: Trained, settings: Mapping[str, object], count: int,
                       say: OnWarning = None) -> tuple[Recipe, SampleImages, SampleImages]:
    """(the recipe with `settings`, `count` images of the split that networks are measured on, or else training images,
    calibration images).
    Calls `say` with a warning if they are not the run's. Raises EngineError if their classes are not the network's."""
    recipe, betons, difference = trained.open_betons(settings, say)
    if say and difference:
        say(f"warning: {difference}: the figures below are for these images")
    threads = place_threads(recipe, CPU)
    split = evaluated_split(betons) or "train"
    return (recipe, take_evenly(recipe, betons[split], split, count, threads),
            take_evenly(recipe, betons["train"], "train", CALIBRATION_IMAGES, threads))


def take_evenly(recipe: Recipe, beton: Beton, split: str, count: int, threads: int) -> SampleImages:
    """At most `count` images of a beton, evenly spaced."""
    spaced = np.linspace(0, beton.samples - 1, min(count, beton.samples)).round().astype(np.int64)
    with closing(plain_feed(beton, Place("stream", CPU, threads), min(500, len(spaced)), evaluation_policy_of(recipe),
                            spaced)) as feed, feed.epoch(0) as batches:
        taken = [(batch.images_bhwc.clone(), batch.labels.clone()) for batch in batches]
    images_bhwc, labels = (torch.cat(parts) for parts in zip(*taken, strict=True))
    return SampleImages(split, images_bhwc, labels.long())


def one_per_class(trained: Trained) -> list[tuple[np.ndarray, str]]:
    """The first test image, uint8 (H, W, 3), of up to MOST_CLASSES_SHOWN evenly spaced classes, with the class names.
    Without a test split it is a validation image; without either, or without the data, the list is empty. Downloads
    nothing."""
    recipe = trained.recipe
    try:
        source = open_data(recipe.changed({"data.download": False}) if recipe.get("data.download") else recipe)
        measured = evaluated_split(source.splits)
        if not measured:
            return []
        split = source.read(measured)
    except (DataError, OSError):
        return []
    count = min(MOST_CLASSES_SHOWN, len(source.class_names))
    classes = np.linspace(0, len(source.class_names) - 1, count).round().astype(int)
    return [(split.images_nhwc[np.argmax(split.labels == label)], source.class_names[label])
            for label in classes if label in split.labels]
