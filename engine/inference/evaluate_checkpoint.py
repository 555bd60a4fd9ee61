"""A checkpoint on a data set's test split: rebuild the network, feed it, measure it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.build.datasets import open_betons, open_data
from engine.build.devices import choose_device, place_threads
from engine.build.feeds import place_of
from engine.build.model import rebuilt_model
from engine.build.preflight import evaluation_policy_of
from engine.common.errors import EngineError
from engine.inference.trained import open_shared
from engine.storage import checkpoint
from engine.storage.shared_folder import is_shared
from engine.training import precision
from engine.training.evaluation import evaluate
from engine.training.forward import ToInput
from engine.training.metrics import Result
from loaders.feeds.build import plain_feed
from recipes.settings.load import Recipe, restore


@dataclass(frozen=True)
class Measured:
    """The result on the test split, with what was measured."""

    recipe: Recipe
    class_names: tuple[str, ...]
    result: Result


def measure_checkpoint(path: Path, settings: Mapping[str, object]) -> Measured:
    """Measure the checkpoint or shared folder at `path` on its own data set's test split, or the one that `settings`
    name.

    Raises EngineError where the data set's classes are not the checkpoint's or it has no test split.
    """
    name, values, class_names, weights = contents_of(path)
    if settings.get("data.name", values["data.name"]) != values["data.name"]:
        # Settings of the data set trained on mean nothing for another one.
        values = {key: value for key, value in values.items() if not key.startswith("data.")
                  or key in ("data.mean", "data.std", "data.cache")}
        # Early stopping looks at held-out images, which the other data set's settings need not have.
        values = {key: value for key, value in values.items() if key not in ("train.patience", "train.min_delta")}
    recipe = restore(name, {**values, **settings})
    device = choose_device(recipe.section("train").device)
    arithmetic = precision.Precision(precision.resolve(recipe.section("train").precision, device), device)
    threads = place_threads(recipe, device)
    source = open_data(recipe)
    if list(source.class_names) != class_names:
        raise EngineError(f"{path} knows {len(class_names)} classes ({class_names[0]}, ...), "
                          f"{source.name} has {len(source.class_names)} ({source.class_names[0]}, ...): "
                          "evaluate it on the data set it was trained on")
    if "test" not in source.splits:
        raise EngineError(f"{source.name} has no test split: add a test/ folder beside train/")
    model = rebuilt_model(recipe, len(source.class_names), weights, path, device)
    data = recipe.section("data")
    to_input = ToInput(data.mean, data.std, device, recipe.section("train").channels_last)
    betons = open_betons(recipe, source)
    feed = plain_feed(betons["test"], place_of(recipe, betons, device, threads), recipe.section("eval").batch,
                      evaluation_policy_of(recipe))
    try:
        result = evaluate(model, feed, len(source.class_names), to_input, arithmetic,
                          recipe.section("eval").tta)
    finally:
        feed.close()
    return Measured(recipe, source.class_names, result)


def contents_of(path: Path) -> tuple[str, dict[str, object], list[str], dict[str, torch.Tensor]]:
    """The recipe's name, its settings, the class names and the weights of a checkpoint or a shared folder."""
    if is_shared(path):
        trained = open_shared(path, device="cpu")
        return trained.recipe.name, dict(trained.recipe.values), list(trained.class_names), trained.model.state_dict()
    saved = checkpoint.load(path)
    return saved["recipe"], dict(saved["values"]), saved["class_names"], checkpoint.measured_weights(saved)
