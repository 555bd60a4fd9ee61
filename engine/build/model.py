"""The network of a recipe: its architecture, and the weights that training starts with."""

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from engine.build.datasets import OnWarning
from engine.build.preflight import policy_of
from engine.common.errors import EngineError
from engine.models import registry
from engine.models.pretrained import start_from
from engine.storage import checkpoint
from engine.training.forward import ToInput
from loaders.beton.cache import Beton
from loaders.beton.images import read_images
from recipes.settings.load import Recipe

# Training images that a whitening stem is fitted to.
WHITEN_IMAGES = 5000


def build_model(recipe: Recipe, classes: int) -> nn.Module:
    """The recipe's network on torch's default device, its weights drawn from torch's generator."""
    options = vars(recipe.section("model")).copy()
    del options["weights"]
    return registry.build(options.pop("name"), classes, policy_of(recipe).output_height, **options)


def rebuilt_model(recipe: Recipe, classes: int, weights: Mapping[str, torch.Tensor], path: Path,
                  device: torch.device) -> nn.Module:
    """The recipe's network on `device` with `weights` from `path`; EngineError where they are another network's."""
    with torch.device("meta"):
        model = build_model(recipe, classes)
    model = model.to_empty(device=device)
    checkpoint.load_weights(model, dict(weights), path)
    return model.to(memory_format=torch.channels_last) if recipe.section("train").channels_last else model


def starting_model(recipe: Recipe, classes: int, beton: Beton, indices: np.ndarray, to_input: ToInput,
                   read_weights: bool = True, say: OnWarning = None) -> nn.Module:
    """The network that training starts with: drawn from the recipe's seed, or read from `model.weights`.

    One that whitens its input, and is not pretrained, is fitted to the first of the training set's `indices`, not
    augmented. `say` is told what was read.
    """
    torch.manual_seed(recipe.section("train").seed)
    settings = recipe.section("model")
    model = build_model(recipe, classes)
    pretrained = settings.weights and read_weights
    if pretrained:
        loaded = start_from(model, settings.weights, library=settings.name, arch=recipe.get("model.arch"))
        if say:
            say(str(loaded))
    model = model.to(to_input.device)
    if recipe.section("train").channels_last:
        model = model.to(memory_format=torch.channels_last)
    if hasattr(model, "whiten") and not pretrained:
        images_nhwc = read_images(beton, indices[:WHITEN_IMAGES])
        model.whiten(to_input(torch.from_numpy(images_nhwc).to(to_input.device)))
    return model


def check_sizes(recipe: Recipe, model: nn.Module, samples: int, ranks: int = 1) -> None:
    """EngineError where the network cannot take images of one of train.sizes, or a batch of a single image.

    Each of several processes (`ranks`) normalises over its block of a batch, unless train.sync_bn is set.
    """
    shadow, train = copy.deepcopy(model).to("meta").eval(), recipe.section("train")
    sides_px = set(train.sizes.values())
    for side_px in sides_px:
        try:
            shadow(torch.empty(2, 3, side_px, side_px, device="meta"))
        except (RuntimeError, AssertionError, ValueError):
            raise EngineError(f"train.sizes: {recipe.section('model').name} cannot take images of {side_px} px: leave "
                              "that size out, or choose a network that pools before its head") from None
    last = samples % train.batch
    if last == 1 or (not train.sync_bn and 1 in (last // ranks, train.batch // ranks)):
        try:
            for side_px in sides_px or {policy_of(recipe).output_px}:
                shadow.train()(torch.empty(1, 3, side_px, side_px, device="meta"))
        except ValueError:
            where = "for the last batch" if ranks == 1 else f"of a batch to one of {ranks} processes"
            raise EngineError(f"train.batch={train.batch} leaves one of {samples:,} images {where}, and "
                              f"{recipe.section('model').name} cannot normalise over one: choose another") from None
