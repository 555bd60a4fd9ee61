"""Which run is meant by --resume, what it is, and what may be changed when it goes on."""

import json
from collections.abc import Mapping
from pathlib import Path

from engine.common.errors import EngineError
from engine.common.files import expand
from recipes.settings.load import Recipe, RecipeError, as_text, read_file, restore

# Settings that change neither the network nor what it has been shown so far; a name that ends in a dot is a section.
MAY_CHANGE = ("train.epochs", "train.on_nan", "train.stop_at", "train.patience", "train.min_delta", "data.workers",
              "data.batches_ahead", "data.cache", "data.root", "data.download", "eval.batch", "checkpoint.", "log.",
              "run.report")
REPEATS = "repeats.json"
# The files of a folder that say that a run, or repeats of one, began there.
MARKS = ("config.yaml", REPEATS)


def changed(recipe: Recipe, settings: Mapping[str, object]) -> Recipe:
    """`recipe` with `settings`; EngineError listing those that a run which goes on cannot take up."""
    if not settings:
        return recipe
    new = restore(recipe.name, recipe.values, settings)
    different = sorted(path for path in {*recipe.values, *new.values} if recipe.get(path) != new.get(path))
    refused = [path for path in different if not path.startswith(MAY_CHANGE)]
    if refused:
        told = ", ".join(f"{path} {as_text(recipe.get(path))} -> {as_text(new.get(path))}" for path in refused)
        raise EngineError(f"the run cannot go on with another recipe ({told}): leave that out, or begin a new run")
    return new


def read_recipe(folder: Path) -> Recipe:
    """The recipe of the run in `folder` as its config.yaml has it; EngineError where that is no run's."""
    config = folder / "config.yaml"
    try:
        name = config.read_text("utf-8").splitlines()[0].split("--recipe ")[1].split()[0]
    except (OSError, UnicodeDecodeError, IndexError):
        raise EngineError(f"{folder} has no config.yaml of a run: give a run folder") from None
    return restore(name, read_file(str(config)))


def read_repeats(folder: Path) -> Recipe:
    """The recipe of the repeats in `folder`; EngineError where their repeats.json is damaged."""
    try:
        mark = json.loads((folder / REPEATS).read_text("utf-8"))
        values = {f"{head}.{tail}": value for head, tree in mark["values"].items() for tail, value in tree.items()}
        name = mark["recipe"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise EngineError(f"{folder / REPEATS} is damaged: begin again in another folder") from None
    return restore(name, values)


def read_begun(folder: Path) -> Recipe:
    """The recipe of what began in `folder`, a run or repeats."""
    return read_repeats(folder) if (folder / REPEATS).exists() else read_recipe(folder)


def newest_unfinished(recipe_name: str | None, folder: str = "") -> str | None:
    """The folder of the run to go on with: `folder` where it holds one that is not finished, else the newest in runs/.

    Of `recipe_name` only, where that is given. None where there is none.
    """
    if folder:
        return folder if begun(expand(folder)) else None
    found = [mark.parent for mark in Path("runs").glob(f"{recipe_name or '*'}/*/*") if mark.name in MARKS
             and not finished(mark.parent)]
    return next((str(place) for place in sorted(found, key=lambda place: place.stat().st_mtime, reverse=True)
                 if readable(place)), None)


def readable(folder: Path) -> bool:
    """Whether the recipe of what began in `folder` can be read."""
    try:
        read_begun(folder)
        return True
    except (EngineError, RecipeError):
        return False


def begun(folder: Path) -> bool:
    """Whether a run, or repeats of one, began in `folder`."""
    return any((folder / mark).exists() for mark in MARKS)


def finished(folder: Path) -> bool:
    """Whether what began in `folder` has its summary."""
    return (folder / "summary.json").exists()


def differing(folder: Path, recipe: Recipe) -> dict[str, object]:
    """The settings of `recipe` that differ from those of the run, or the repeats, in `folder`."""
    if not begun(folder):
        return {}
    there = read_begun(folder)
    if there.name != recipe.name:
        raise EngineError(f"{folder} holds a run of recipe {there.name}, not {recipe.name}: choose another folder")
    return {path: value for path, value in recipe.values.items()
            if there.get(path) != value and path != "run.folder"}


def refuse_other_recipe(folder: Path, recipe: Recipe) -> None:
    """EngineError where `recipe`, a checkpoint's, is not the one that the config.yaml of its folder describes."""
    if not (folder / "config.yaml").exists():
        return
    there = read_recipe(folder)
    different = [path for path in sorted({*there.values, *recipe.values}) if there.get(path) != recipe.get(path)
                 and not path.startswith(MAY_CHANGE) and path != "run.folder"]
    if there.name != recipe.name or different:
        raise EngineError(f"{folder}: the last checkpoint is another run's than config.yaml "
                          f"({', '.join(different) or 'recipe'} differ): put the run's own back, or begin a new run")
