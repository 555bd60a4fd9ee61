"""What can be refused before anything heavy is imported: the policy, sizes that are known, folders."""

from pathlib import Path

from engine.errors import EngineError
from loaders.policy import Policy, parse
from loaders.sources import Facts, facts
from recipes.load import Recipe


def resolution_of(recipe: Recipe) -> int:
    """Height and width of the data set's images in px."""
    return recipe.get("data.resolution", 32)


def facts_of(recipe: Recipe) -> Facts | None:
    """Sizes of the recipe's data set, None for class folders."""
    data = recipe.section("data")
    shapes = {key: getattr(data, key) for key in ("classes", "train_count", "test_count") if hasattr(data, key)}
    return facts(data.name, labels=recipe.get("data.labels", "fine"), resolution=resolution_of(recipe), **shapes)


def policy_of(recipe: Recipe) -> Policy:
    """The training policy, parsed for the data set's resolution."""
    side_px = resolution_of(recipe)
    return parse(recipe.section("augment").policy, side_px, side_px)


def training_count(recipe: Recipe, count: int) -> int:
    """Images left for training of `count` once the validation share is held out (rounded as the split rounds)."""
    return count - round(count * recipe.section("data").validation)


def refuse_early(recipe: Recipe) -> None:
    """Raise for what is wrong already without data or torch."""
    policy_of(recipe)
    known, data, batch = facts_of(recipe), recipe.section("data"), recipe.section("train").batch
    if known and batch > training_count(recipe, known.train):
        raise EngineError(f"train.batch={batch} is larger than the {training_count(recipe, known.train):,} training "
                          f"images of {data.name}: make it smaller")
    if data.name != "shapes" and not data.download and not Path(data.root).expanduser().is_dir():
        fetch = " or --data.download=true" if data.name != "folder" else ""
        raise EngineError(f"data.root={data.root} is not a folder: give the one that holds {data.name} with "
                          f"--data.root=DIR{fetch}")
