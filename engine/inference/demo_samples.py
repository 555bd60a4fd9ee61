"""Images to try a network on: a few of its own data set's test images, where that is at hand."""

import numpy as np

from engine.build.datasets import open_data
from engine.inference.trained import Trained
from loaders.common.errors import DataError
from recipes.settings.load import restore

MOST_SAMPLES = 12


def samples_of(trained: Trained) -> list[tuple[np.ndarray, str]]:
    """Up to MOST_SAMPLES test images, uint8 (H, W, 3), each of another class, with the names of their classes.

    The first image of each class, classes evenly apart; the same each time. Empty where the data set is not at hand or
    has no test split: nothing is downloaded.
    """
    recipe = trained.recipe
    if recipe.get("data.download"):
        recipe = restore(recipe.name, {**recipe.values, "data.download": False})
    try:
        source = open_data(recipe)
        if "test" not in source.splits:
            return []
        split = source.read("test")
    except (DataError, OSError):
        return []
    count = min(MOST_SAMPLES, len(source.class_names))
    classes = np.linspace(0, len(source.class_names) - 1, count).round().astype(int)
    firsts = [np.flatnonzero(split.labels == label)[:1] for label in classes]
    return [(split.images_nhwc[first[0]], source.class_names[label])
            for first, label in zip(firsts, classes, strict=True) if len(first)]
