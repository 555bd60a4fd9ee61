"""One recipe over several seeds in one process: everything is built and compiled once, mean and deviation at the end.

The folder of the repeats holds `repeats.json`, a run folder `seed_N` per seed and, when all are done, `summary.json`.
A repeat ends with the bits of a single run of its seed.
"""

import statistics
import time
from contextlib import ExitStack, closing
from pathlib import Path

from engine.build.run import build, reset_to_seed
from engine.cli.console import Screen
from engine.common.errors import EngineError
from engine.common.files import expand, read_json, write_json
from engine.session.resume import resume_run
from engine.session.session import train_new
from engine.storage.folder_lock import FolderLock
from engine.storage.run_folder import open_folder
from engine.storage.run_lookup import REPEATS, read_repeats
from recipes.settings.load import Recipe

FIXED = ("device", "precision", "versions", "hardware", "commit")
MEASURED = ("test_top1", "val_top1", "train_top1", "train_seconds", "wall_seconds", "epochs_per_second",
            "images_per_second")


def start(recipe: Recipe) -> int:
    """Train `recipe` train.repeats times, from its seed upwards, in a new folder; returns the exit status."""
    wanted = recipe.section("run").folder
    taken = sorted(expand(wanted).glob("seed_*")) if wanted else []
    if taken:
        raise EngineError(f"run.folder={wanted} holds {taken[0].name} of another run: choose another folder")
    folder = open_folder(recipe.section("run").folder, recipe.name)
    with FolderLock(folder):
        if (folder / REPEATS).exists():
            raise EngineError(f"{folder} was started by another process meanwhile: choose another folder")
        write_json(folder / REPEATS, {"recipe": recipe.name, "command": recipe.command(), "values": recipe.nested()})
        return train_seeds(recipe, folder)


def resume(folder: Path) -> int:
    """Resume the repeats in `folder`; returns the exit status. EngineError where its repeats.json is damaged."""
    recipe = read_repeats(folder)
    with FolderLock(folder):
        return train_seeds(recipe, folder)


def train_seeds(recipe: Recipe, folder: Path) -> int:
    """Train the seeds that are not done yet, in a folder that the caller has locked, then write and show the summary.
    """
    train, run = recipe.section("train"), None
    seeds = range(train.seed, train.seed + train.repeats)
    with ExitStack() as opened:
        screen = opened.enter_context(Screen())
        for seed in seeds:
            began = time.monotonic()
            single, own = one_of(recipe, seed, folder), folder / f"seed_{seed}"
            if (own / "summary.json").exists():
                continue
            if (own / "checkpoints" / "last.pt").exists():
                status = resume_run(str(own), screen, folder, began=began)
            elif run is None:
                run = opened.enter_context(closing(build(single, on_progress=screen.writing, on_warning=screen.say)))
                status = train_new(run, screen, folder, began=began)
            else:
                reset_to_seed(run, single)
                status = train_new(run, screen, folder, first=False, began=began)
            if status:
                return status
        summary = summarise(recipe, [read_summary(folder / f"seed_{seed}") for seed in seeds])
        write_json(folder / "summary.json", summary)
        screen.table(f"{recipe.name}, {train.repeats} runs, mean ± standard deviation", rows(summary, folder))
    return 0


def read_summary(folder: Path) -> dict:
    """A repeat's summary; EngineError where it is damaged."""
    way = f"remove that folder and resume with --resume {folder.parent}"
    # Former versions did not measure wall seconds.
    summary = {"wall_seconds": None} | read_json(folder / "summary.json", way)
    try:
        return {key: summary[key] for key in ("dataset", "seed", *MEASURED, *FIXED)}
    except KeyError as error:
        raise EngineError(f"{folder / 'summary.json'} is damaged, it has no {error}: {way}") from None


def one_of(recipe: Recipe, seed: int, folder: Path) -> Recipe:
    """The recipe of a single repeat."""
    return recipe.changed({"train.seed": seed, "train.repeats": 1, "run.folder": str(folder / f"seed_{seed}")})


def summarise(recipe: Recipe, summaries: list[dict]) -> dict:
    """The summary of the repeats: {mean, sd, values} of each measure that all have; sd is None for a single one."""
    found = {"recipe": recipe.name, "dataset": summaries[0]["dataset"], "repeats": len(summaries),
             "seeds": [summary["seed"] for summary in summaries], "command": recipe.command()}
    for name in MEASURED:
        values = [summary[name] for summary in summaries]
        if None not in values:
            found[name] = {"mean": statistics.mean(values), "values": values,
                           "sd": statistics.stdev(values) if len(values) > 1 else None}
    return found | {key: summaries[0][key] for key in FIXED}


def rows(summary: dict, folder: Path) -> list[tuple[str, str]]:
    """(name, value) in the order of the closing table."""
    shown = []
    for name in MEASURED:
        if name in summary:
            unit, factor = ("%", 100) if name.endswith("top1") else (" s" if name.endswith("seconds") else "", 1)
            mean, deviation = (factor * (summary[name][key] or 0) for key in ("mean", "sd"))
            shown.append((name.replace("_", " "), f"{figure(mean, 4)} ± {figure(deviation, 2)}{unit}"))
    return [*shown, ("seeds", f"{summary['seeds'][0]} to {summary['seeds'][-1]}"), ("folder", str(folder))]


def figure(value: float, digits: int) -> str:
    """A number to `digits` significant digits; a whole number where more stand before the point."""
    return f"{value:,.0f}" if value >= 10 ** (digits - 1) else f"{value:.{digits}g}"
