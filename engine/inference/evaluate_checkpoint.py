"""Evaluate a checkpoint on a data set's test images, or its validation images where it has none."""

from collections.abc import Mapping
from contextlib import closing

from engine.build.datasets import open_betons
from engine.build.devices import choose_device, place_threads
from engine.build.feeds import place_of
from engine.build.preflight import evaluation_policy_of
from engine.build.splits import evaluated_split
from engine.common.errors import EngineError
from engine.inference.trained import Trained, assemble
from engine.training import precision
from engine.training.evaluation import evaluate
from engine.training.metrics import Result
from loaders.feeds.build import plain_feed
from recipes.settings.load import Recipe, restore


def evaluate_trained(trained: Trained, settings: Mapping[str, object]) -> tuple[Recipe, str, Result]:
    """(the recipe with `settings`, the split, the result on it). The split is "test", or "validation" where only these
    have a folder; EngineError without either or for other classes. If `settings` name another data set, the recipe
    loses the settings that only fit its own."""
    values = dict(trained.recipe.values)
    if settings.get("data.name", values["data.name"]) != values["data.name"]:
        # Early stopping watches held-out images, which the other data set's settings need not have.
        values = {path: value for path, value in values.items() if path in ("data.mean", "data.std", "data.cache")
                  or not path.startswith(("data.", "train.patience", "train.min_delta"))}
    recipe = restore(trained.recipe.name, {**values, **settings})
    device = choose_device(recipe.section("train").device)
    arithmetic = precision.Precision(precision.resolve(recipe.section("train").precision, device), device)
    threads = place_threads(recipe, device)
    source = trained.open_data(recipe)
    split = evaluated_split(source.splits)
    if not split:
        raise EngineError(f"{source.name} has no test split: add a test/ or a val/ folder beside train/")
    # Built again: another data set may have images of another size, and another device may be set.
    network = assemble(trained.path, recipe, trained.class_names, trained.model.state_dict(), trained.epoch,
                       trained.history, device.type)
    betons = open_betons(recipe, source)
    held_out = recipe.section("eval")
    with closing(plain_feed(betons[split], place_of(recipe, betons, device, threads), held_out.batch,
                            evaluation_policy_of(recipe))) as feed:
        return recipe, split, evaluate(network.model, feed, len(source.class_names), network.to_input, arithmetic,
                                       held_out.tta)
