"""The settings that a sweep adds to a recipe so that held-out images, never the test set, judge its trials."""

from collections.abc import Mapping

from engine.build.splits import refuse_share, split_folders
from engine.common.errors import EngineError
from recipes.settings import load

# Setting -> the value that leaves no held-out images to choose by, the value that a sweep sets instead, the error.
INSTEAD = {
    "eval.watch": ("none", "auto", "eval.watch=none leaves nothing to choose by: leave it out"),
    "data.validation": (0, 0.1, "data.validation=0: a sweep chooses on held-out images: give a share above 0, or leave "
                                "it out for 0.1"),
    "eval.select": ("test", "auto", "eval.select=test: a sweep chooses on held-out images and never sees the test set: "
                                    "leave it out"),
}


def settings_to_hold_out(recipe: load.Recipe) -> dict[str, object]:
    """The settings to add; EngineError if the command line or a file sets the opposite. A folder of validation images
    takes the place of a share of the training images."""
    added, has_folder = {}, "validation" in split_folders(recipe)
    for path, (refused, instead, problem) in INSTEAD.items():
        if path == "data.validation" and has_folder:
            refuse_share(recipe)
            added |= {path: 0} if recipe.values[path] else {}
            continue
        if recipe.values[path] == refused:
            if path in recipe.given:
                raise EngineError(problem)
            added[path] = instead
    return added


def without_added(recipe: str, given: Mapping[str, object], added: Mapping[str, object]) -> dict[str, object]:
    """`given` as plain values, without the `added` settings unless the others need them."""
    plain = {path: load.as_plain(value) for path, value in given.items()}
    fewer = {path: value for path, value in plain.items() if path not in added}
    try:
        load.load(recipe, None, fewer)
    except load.RecipeError:
        return plain
    return fewer
