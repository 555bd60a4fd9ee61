"""Which run --resume means, what its recipe is, and which settings may change when it is resumed."""

from collections.abc import Mapping
from pathlib import Path

from engine.common.errors import EngineError
from engine.common.files import expand, read_json
from recipes.settings.load import Recipe, RecipeError, as_text, read_file, restore

# Settings that change neither the network nor what it has seen so far; a name ending in a dot is a section. In a run
# with stages train.epochs changes the length of the last one.
MAY_CHANGE = ("train.epochs", "train.on_nan", "train.stop_at", "train.patience", "train.min_delta", "data.workers",
              "data.batches_ahead", "data.cache", "data.root", "data.download", "eval.batch", "checkpoint.", "log.",
              "run.report")
REPEATS = "repeats.json"
# A folder with one of these files holds a run, or repeats.
MARKS = ("config.yaml", REPEATS)


def changed(recipe: Recipe, settings: Mapping[str, object]) -> Recipe:
    """`recipe` with `settings`; EngineError listing those that a resumed run cannot change."""
    if not settings:
        return recipe
    new = restore(recipe.name, recipe.values, settings)
    refused = different(recipe, new)
    if refused:
        told = ", ".join(f"{path} {as_text(recipe.get(path))} -> {as_text(new.get(path))}" for path in refused)
        raise EngineError(f"the run cannot be resumed with another recipe ({told}): leave that out, or start a new run")
    return new


def different(one: Recipe, other: Recipe) -> list[str]:
    """The settings in which two recipes differ, other than those that may change and the length of the last stage."""
    def kept(recipe: Recipe) -> dict[str, object]:
        *first, last = recipe.section("train").stages or ({},)
        return {**recipe.values, "train.stages": (*first, {**last, "epochs": None})}

    before, now = kept(one), kept(other)
    return sorted(path for path in {*before, *now} if before.get(path) != now.get(path)
                  and not path.startswith(MAY_CHANGE))


def read_recipe(folder: Path) -> Recipe:
    """The recipe of the run in `folder`, from its config.yaml; EngineError where there is none."""
    config = folder / "config.yaml"
    try:
        name = config.read_text("utf-8").splitlines()[0].split("--recipe ")[1].split()[0]
    except (OSError, UnicodeDecodeError, IndexError):
        raise EngineError(f"{folder} has no config.yaml of a run: give a run folder") from None
    return restore(name, read_file(str(config)))


def read_repeats(folder: Path) -> Recipe:
    """The recipe of the repeats in `folder`; EngineError where their repeats.json is damaged."""
    way = "start again in another folder"
    mark = read_json(folder / REPEATS, way)
    try:
        values = {f"{head}.{tail}": value for head, tree in mark["values"].items() for tail, value in tree.items()}
        return restore(mark["recipe"], values)
    except (KeyError, TypeError, AttributeError):
        raise EngineError(f"{folder / REPEATS} is damaged: {way}") from None


def read_started(folder: Path) -> Recipe:
    """The recipe of the run, or the repeats, in `folder`."""
    return read_repeats(folder) if (folder / REPEATS).exists() else read_recipe(folder)


def newest_unfinished(recipe_name: str | None, folder: str = "") -> str | None:
    """The folder of the run to resume, None where there is none: `folder`, or else the newest unfinished one in runs/.

    recipe_name: only runs of this recipe, where it is given.
    """
    if folder:
        return folder if started(expand(folder)) else None
    found = [mark.parent for mark in Path("runs").glob(f"{recipe_name or '*'}/*/*") if mark.name in MARKS
             and not finished(mark.parent)]
    return next((str(place) for place in sorted(found, key=lambda place: place.stat().st_mtime, reverse=True)
                 if readable(place)), None)


def readable(folder: Path) -> bool:
    """Whether the recipe in `folder` can be read."""
    try:
        read_started(folder)
        return True
    except (EngineError, RecipeError):
        return False


def started(folder: Path) -> bool:
    """Whether `folder` holds a run or repeats."""
    return any((folder / mark).exists() for mark in MARKS)


def finished(folder: Path) -> bool:
    """Whether the run, or the repeats, in `folder` have a summary."""
    return (folder / "summary.json").exists()


def differing(folder: Path, recipe: Recipe) -> dict[str, object]:
    """The settings of `recipe` that differ from those of the run, or the repeats, in `folder`."""
    if not started(folder):
        return {}
    there = read_started(folder)
    if there.name != recipe.name:
        raise EngineError(f"{folder} holds a run of recipe {there.name}, not {recipe.name}: choose another folder")
    return {path: value for path, value in recipe.values.items()
            if there.get(path) != value and path != "run.folder"}


def refuse_other_recipe(folder: Path, recipe: Recipe) -> None:
    """EngineError where `recipe`, a checkpoint's, is not the one in the config.yaml of its folder."""
    if not (folder / "config.yaml").exists():
        return
    there = read_recipe(folder)
    others = [path for path in different(there, recipe) if path != "run.folder"]
    if there.name != recipe.name or others:
        raise EngineError(f"{folder}: the last checkpoint is of another run than config.yaml "
                          f"({', '.join(others) or 'recipe'} differ): put the run's own back, or start a new run")
