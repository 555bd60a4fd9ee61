"""Which run --resume means, what its recipe is, and which settings may change when it is resumed."""

import os
from collections.abc import Iterator, Mapping
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


def why_missing(folder: Path, which: str) -> str:
    """What follows "DIR has no checkpoints/WHICH.pt": why, and what to do."""
    if (folder / REPEATS).exists():
        return ", it holds a run per seed: give one of its seed_ folders"
    if which != "best" or not (folder / "config.yaml").exists():
        return ": give a run folder or a .pt file"
    recipe = read_recipe(folder)
    watch, select, best_by = (recipe.get(f"eval.{name}") for name in ("watch", "select", "best_by"))
    own_folder = "validation" in read_json(folder / "env.json", "start again").get("folders", {})
    if not (recipe.section("data").validation or select == "test" or own_folder):
        reason = "choosing the best epoch needs held-out images, and it was trained with data.validation=0"
    elif "none" in (watch, select):
        reason = f"it was trained with eval.watch={watch} and eval.select={select}"
    else:
        reason = f"no epoch with a finite {best_by} has ended yet"
    return f": {reason}; without --best its last.pt is used"


def read_started(folder: Path) -> Recipe:
    """The recipe of the run, or the repeats, in `folder`."""
    return read_repeats(folder) if (folder / REPEATS).exists() else read_recipe(folder)


def newest_unfinished(recipe_name: str | None, folder: str = "") -> str | None:
    """The folder of the run to resume, None where there is none: `folder`, or else the newest unfinished one in runs/.

    recipe_name: only runs of this recipe, where it is given.
    """
    if folder:
        return folder if started(expand(folder)) else None
    found = [place for place in folders_of_runs(Path("runs")) if not finished(place)]
    return next((str(place) for place in sorted(found, key=lambda place: place.stat().st_mtime, reverse=True)
                 if (name := recipe_in(place)) and recipe_name in (None, name)), None)


def folders_of_runs(top: Path) -> Iterator[Path]:
    """The folders at any depth below `top` that hold a run or repeats, without those inside one: a repeat, or what
    engine.reproduce made.
    """
    seen = set()
    for place, inner, files in os.walk(top, followlinks=True):
        folder, stat = Path(place), os.stat(place)
        # A link may lead back up.
        if (stat.st_dev, stat.st_ino) in seen:
            inner.clear()
        elif folder != top and not set(MARKS).isdisjoint(files):
            inner.clear()
            yield folder
        seen.add((stat.st_dev, stat.st_ino))


def recipe_in(folder: Path) -> str | None:
    """The name of the recipe in `folder`, None where it cannot be read."""
    try:
        return read_started(folder).name
    except (EngineError, RecipeError):
        return None


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
    # A run of a former version goes on by the criterion that it had; the recipe may name another one by now.
    own = {"run.folder"} | ({"eval.best_by"} - recipe.given.keys())
    return {path: value for path, value in recipe.values.items() if there.get(path) != value and path not in own}


def refuse_other_recipe(folder: Path, recipe: Recipe) -> None:
    """EngineError where `recipe`, a checkpoint's, is not the one in the config.yaml of its folder."""
    if not (folder / "config.yaml").exists():
        return
    there = read_recipe(folder)
    others = [path for path in different(there, recipe) if path != "run.folder"]
    if there.name != recipe.name or others:
        raise EngineError(f"{folder}: the last checkpoint is of another run than config.yaml "
                          f"({', '.join(others) or 'recipe'} differ): put the run's own back, or start a new run")
