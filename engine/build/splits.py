"""What a user's class folders decide about a run: whether they hold the validation images themselves.

It goes into the recipe, so that the run's record says what was done.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from engine.common.errors import EngineError
from engine.common.files import expand
from loaders.sources.base import Source
from recipes.settings.load import Recipe

if TYPE_CHECKING:
    from loaders.sources.folder_layout import Listing


def split_folders(recipe: Recipe) -> dict[str, Path]:
    """Split -> its folder, where the recipe's data are class folders that exist; else {}. DataError for folders whose
    names contradict each other."""
    root = expand(recipe.get("data.root", ""))
    if recipe.section("data").name != "folder" or not root.is_dir():
        return {}
    from loaders.sources.folder_layout import find_splits

    return find_splits(root)


def list_folders(recipe: Recipe) -> Listing:
    """The recipe's class folders with the files in them; DataError naming all that is wrong."""
    from loaders.sources.folder_layout import list_folder

    return list_folder(expand(recipe.section("data").root))


def evaluated_split(splits: Collection[str]) -> str:
    """The split of a data set that networks are measured on: "test", or else "validation", or "" without either."""
    return next((split for split in ("test", "validation") if split in splits), "")


def fit_to_splits(recipe: Recipe, splits: Collection[str]) -> Recipe:
    """`recipe` for a data set with these splits: validation images of its own take the place of a share of the training
    images. EngineError where the user set the share too, or where validation images are needed and there are none."""
    data, train, root = recipe.section("data"), recipe.section("train"), recipe.get("data.root")
    if "validation" not in splits:
        asking = ["train.patience"] * bool(train.patience) + ["eval.best_by"] * ("eval.best_by" in recipe.given)
        if asking and not data.validation and recipe.section("eval").select != "test":
            raise EngineError(f"{asking[0]}={recipe.get(asking[0])} needs validation images: set data.validation "
                              f"above 0, or put some into {root}/val/<class>/")
        return recipe
    if recipe.section("eval").select == "test":
        raise EngineError(f"eval.select=test chooses on the test set though {root} has a folder of validation images: "
                          "set eval.select=auto, or move that folder away")
    refuse_share(recipe)
    return recipe.changed({"data.validation": 0}) if data.validation else recipe


def fit_to_folders(recipe: Recipe) -> Recipe:
    """`recipe` for the splits that its class folders have. Raises what `split_folders` and `fit_to_splits` raise."""
    return fit_to_splits(recipe, split_folders(recipe))


def refuse_share(recipe: Recipe) -> None:
    """EngineError where the user holds out training images though there is a folder of validation images."""
    if not recipe.section("data").validation:
        return
    if given := [path for path in ("data.validation", "data.split_seed") if path in recipe.given]:
        raise EngineError(f"{given[0]}={recipe.given[given[0]]:g} is for held-out training images, and "
                          f"{recipe.get('data.root')} has a folder of validation images: leave it out, or move that "
                          "folder away")


def settled(recipe: Recipe, source: Source, say: Callable[[str], None] | None) -> Recipe:
    """`recipe` with what its data decide: a folder's validation images instead of a share, white of float images."""
    fitted = fit_to_splits(recipe, source.splits)
    if fitted is not recipe and say:
        say(f"{source.folders['validation']} holds the validation images: the recipe's data.validation="
            f"{recipe.section('data').validation:g} becomes 0")
    white = source.float_max
    return fitted if white in (None, fitted.get("data.float_max")) else fitted.changed({"data.float_max": white})
