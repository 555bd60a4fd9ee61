"""Evaluate a checkpoint on a data set's test images, or its validation images where it has none."""

import hashlib
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

# Settings about held-out images, which another data set's settings need not have.
HELD_OUT = ("train.patience", "train.min_delta", "eval.best_by")


def evaluate_trained(trained: Trained, settings: Mapping[str, object]) -> tuple[Recipe, str, Result, str]:
    """(the recipe with `settings`, the split, the result on it, the SHA-256 of its beton).

    The split is "test", or "validation" where only these have a folder; EngineError without either or for other
    classes. If `settings` name another data set, the recipe loses the settings that only fit its own.
    """
    values = dict(trained.recipe.values)
    if "data.root" in settings:
        # What is white in these images, they tell themselves.
        values.pop("data.float_max", None)
    if settings.get("data.name", values["data.name"]) != values["data.name"]:
        values = {path: value for path, value in values.items() if path in ("data.mean", "data.std", "data.cache")
                  or not path.startswith(("data.", *HELD_OUT))}
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
        result = evaluate(network.model, feed, len(source.class_names), network.to_input, arithmetic, held_out.tta)
    return recipe, split, result, betons[split].sha256


def file_stem(trained: Trained, recipe: Recipe, split: str, data_sha256: str) -> str:
    """The name for the files of an evaluation, without a suffix: "confusion" for a run's last checkpoint on the run's
    own data. Another checkpoint, other data, another normalisation or way to predict are in the name:
    "confusion_best_cifar10-1a2b3c4d_flip".
    """
    own, known = trained.recipe, trained.trained_on
    other_data = known.get(split) != data_sha256 if known else recipe.get("data.name") != own.get("data.name")
    parts = [trained.path.stem] * (trained.path.suffix == ".pt" and trained.path.stem != "last")
    parts += [f"{recipe.get('data.name')}-{data_sha256[:8]}"] * other_data
    colours = [recipe.get(path) for path in ("data.mean", "data.std")]
    if colours != [own.get(path) for path in ("data.mean", "data.std")]:
        parts.append(f"normalised-{hashlib.sha256(repr(colours).encode()).hexdigest()[:8]}")
    parts += [recipe.get(path) for path in ("eval.tta", "train.precision") if recipe.get(path) != own.get(path)]
    return "_".join(("confusion", *parts))
