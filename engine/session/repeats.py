"""One recipe over several seeds in one process: everything is built, and compiled, once; mean and deviation at the end.

The folder of the repeats holds `repeats.json`, a run folder for each seed, `seed_N`, and, when all are done,
`summary.json`. A repeat has the bits of a single run of its seed.
"""

import json
import statistics
from pathlib import Path

from engine.build.run import build, start_again
from engine.cli.console import Screen
from engine.common.errors import EngineError
from engine.common.files import expand, write_json
from engine.session import session
from engine.session.resume import resume
from engine.storage import run_folder
from engine.storage.folder_lock import FolderLock
from engine.storage.run_lookup import REPEATS, read_repeats
from recipes.settings.load import Recipe

FIXED = ("device", "precision", "versions", "hardware", "commit")
MEASURED = ("test_top1", "val_top1", "train_top1", "train_seconds", "epochs_per_second", "images_per_second")


def start(recipe: Recipe) -> int:
    """Train `recipe` train.repeats times, from its seed upwards, in a new folder; returns the exit status."""
    wanted = recipe.section("run").folder
    taken = sorted(expand(wanted).glob("seed_*")) if wanted else []
    if taken:
        raise EngineError(f"run.folder={wanted} holds {taken[0].name} of another run: choose another folder")
    folder = run_folder.open_folder(recipe.section("run").folder, recipe.name)
    with FolderLock(folder):
        if (folder / REPEATS).exists():
            raise EngineError(f"{folder} was begun by another process meanwhile: choose another folder")
        write_json(folder / REPEATS, {"recipe": recipe.name, "command": recipe.command(), "values": recipe.nested()})
        return go_through(recipe, folder)


def go_on(folder: Path) -> int:
    """Go on with the repeats in `folder`; returns the exit status.

    Raises EngineError where its repeats.json is not what `start` wrote.
    """
    recipe = read_repeats(folder)
    with FolderLock(folder):
        return go_through(recipe, folder)


def go_through(recipe: Recipe, folder: Path) -> int:
    """Train the seeds that are not done yet, in a folder that the caller holds, then write and show what they came to.
    """
    train, run = recipe.section("train"), None
    seeds = range(train.seed, train.seed + train.repeats)
    try:
        with Screen() as screen:
            for seed in seeds:
                single, own = one_of(recipe, seed, folder), folder / f"seed_{seed}"
                if (own / "summary.json").exists():
                    continue
                if (own / "checkpoints" / "last.pt").exists():
                    status = resume(str(own), screen, folder)
                elif run is None:
                    run = build(single, on_progress=screen.writing, on_warning=screen.say)
                    status = session.begin(run, screen, folder)
                else:
                    start_again(run, single)
                    status = session.begin(run, screen, folder, first=False)
                if status:
                    return status
            summary = summarise(recipe, [read_summary(folder / f"seed_{seed}") for seed in seeds])
            write_json(folder / "summary.json", summary)
            screen.table(f"{recipe.name}, {train.repeats} runs, mean ± standard deviation", rows(summary, folder))
        return 0
    finally:
        if run is not None:
            run.close()


def read_summary(folder: Path) -> dict:
    """A repeat's summary; EngineError where it is not one."""
    try:
        summary = json.loads((folder / "summary.json").read_text("utf-8"))
        return {key: summary[key] for key in ("dataset", "seed", *MEASURED, *FIXED)}
    except (OSError, ValueError, KeyError, TypeError):
        raise EngineError(f"{folder / 'summary.json'} is damaged: remove that folder and go on with "
                          f"--resume {folder.parent}") from None


def one_of(recipe: Recipe, seed: int, folder: Path) -> Recipe:
    """The recipe of a single repeat."""
    return recipe.changed({"train.seed": seed, "train.repeats": 1, "run.folder": str(folder / f"seed_{seed}")})


def summarise(recipe: Recipe, summaries: list[dict]) -> dict:
    """The repeats' summary: {mean, sd, values} of each measure that all of them have; sd is None for a single one."""
    found = {"recipe": recipe.name, "dataset": summaries[0]["dataset"], "repeats": len(summaries),
             "seeds": [summary["seed"] for summary in summaries], "command": recipe.command()}
    for name in MEASURED:
        values = [summary[name] for summary in summaries]
        if None not in values:
            found[name] = {"mean": statistics.mean(values), "values": values,
                           "sd": statistics.stdev(values) if len(values) > 1 else None}
    return found | {key: summaries[0][key] for key in FIXED}


def rows(summary: dict, folder: Path) -> list[tuple[str, str]]:
    """(name, value) in the order in which the closing table shows them."""
    shown = []
    for name in MEASURED:
        if name in summary:
            unit, factor = ("%", 100) if name.endswith("top1") else (" s" if name.endswith("seconds") else "", 1)
            mean, deviation = (factor * (summary[name][key] or 0) for key in ("mean", "sd"))
            shown.append((name.replace("_", " "), f"{figure(mean, 4)} ± {figure(deviation, 2)}{unit}"))
    return [*shown, ("seeds", f"{summary['seeds'][0]} to {summary['seeds'][-1]}"), ("folder", str(folder))]


def figure(value: float, digits: int) -> str:
    """A number to `digits` significant digits, whole and without an exponent where it has more before the point."""
    return f"{value:,.0f}" if value >= 10 ** (digits - 1) else f"{value:.{digits}g}"
