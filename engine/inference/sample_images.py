"""Some of a data set's images for a trained network, as evaluation shows them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from engine.build.datasets import OnWarning, open_betons, open_data
from engine.build.devices import place_threads
from engine.build.preflight import evaluation_policy_of, refuse_early
from engine.common.errors import EngineError
from engine.inference.trained import Trained
from loaders.beton.cache import Beton
from loaders.feeds.build import Place, plain_feed
from recipes.settings.load import Recipe, restore

CALIBRATION_IMAGES = 512
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Samples:
    """Unaugmented images of one split, evenly spaced over it: uint8 (N, side, side, 3), labels int64 (N,)."""

    split: str
    images_bhwc: torch.Tensor
    labels: torch.Tensor


def open_samples(trained: Trained, settings: Mapping[str, object], count: int,
                 say: OnWarning = None) -> tuple[Recipe, Samples, Samples]:
    """(the recipe with `settings`, `count` images of the test split, CALIBRATION_IMAGES of the training split).

    A data set without a test split gives `count` of the training split's images instead. `say` is told where
    they are not the images that the run had. Raises EngineError where the classes are not the network's.
    """
    recipe = restore(trained.recipe.name, {**trained.recipe.values, **settings})
    refuse_early(recipe)
    threads = place_threads(recipe, CPU)
    source = open_data(recipe)
    if tuple(source.class_names) != trained.class_names:
        raise EngineError(f"{trained.path} knows {len(trained.class_names)} classes ({trained.class_names[0]}, ...), "
                          f"{source.name} has {len(source.class_names)} ({source.class_names[0]}, ...): check it on "
                          "the data set it was trained on")
    betons = open_betons(recipe, source, on_warning=say)
    others = trained.other_splits(betons)
    if say and others:
        say(f"warning: the {others[0]} images of {source.name} are not those that the run had (the checksums of the "
            "betons differ): the figures are of these")
    split = "test" if "test" in betons else "train"
    return (recipe, samples_of(recipe, betons[split], split, count, threads),
            samples_of(recipe, betons["train"], "train", CALIBRATION_IMAGES, threads))


def samples_of(recipe: Recipe, beton: Beton, split: str, count: int, threads: int) -> Samples:
    """At most `count` of a beton's images, as evaluation shows them."""
    spaced = np.linspace(0, beton.samples - 1, min(count, beton.samples)).round().astype(np.int64)
    feed = plain_feed(beton, Place("stream", CPU, threads), min(500, len(spaced)), evaluation_policy_of(recipe), spaced)
    try:
        with feed.epoch(0) as batches:
            taken = [(batch.images_bhwc.clone(), batch.labels.clone()) for batch in batches]
    finally:
        feed.close()
    images_bhwc, labels = (torch.cat(parts) for parts in zip(*taken, strict=True))
    return Samples(split, images_bhwc, labels.long())
