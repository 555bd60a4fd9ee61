"""A recipe's data settings become a source and its betons. Imports neither torch nor FFCV."""

from collections.abc import Callable

from engine.checks import resolution_of
from engine.files import expand
from loaders.beton import Beton, ensure
from loaders.sources import Source, open_source
from recipes.load import Recipe

OnProgress = Callable[[int, int], None] | None
OnWarning = Callable[[str], None] | None


def open_data(recipe: Recipe) -> Source:
    """The recipe's data set, its files not yet decoded."""
    shapes = {"classes": "data.classes", "train_count": "data.train_count", "test_count": "data.test_count",
              "seed": "data.shapes_seed"}
    options = {key: recipe.get(path) for key, path in shapes.items() if recipe.get(path) is not None}
    return open_source(recipe.get("data.name"), root=expand(recipe.get("data.root", "")),
                       labels=recipe.get("data.labels", "fine"), download=recipe.get("data.download", False),
                       resolution=resolution_of(recipe), **options)


def open_betons(recipe: Recipe, source: Source, on_progress: OnProgress = None,
                on_warning: OnWarning = None) -> dict[str, Beton]:
    """The beton of each of the source's splits, written where the cache has none that is whole."""
    cache = expand(recipe.section("data").cache)
    return {split: ensure(source, split, cache, on_progress=on_progress, on_warning=on_warning)
            for split in source.splits}
