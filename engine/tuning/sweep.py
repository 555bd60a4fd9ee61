"""A sweep from its first trial, or wherever it was stopped, to its leaderboard, picture and best settings."""

from collections.abc import Mapping
from pathlib import Path

from engine.build.devices import choose_device
from engine.cli.console import Screen
from engine.cli.signals import Interrupted
from engine.common.errors import EngineError
from engine.common.files import make_folder
from engine.plots.sweep import draw_importance
from engine.storage import run_folder
from engine.storage.folder_lock import FolderLock
from engine.tuning.leaderboard import line, percent, rows_of, table, write_best, write_leaderboard
from engine.tuning.trials import Sweep, done, go_on, importance, open_study
from recipes.settings import load

BEST = "best.yaml"


def search(sweep: Sweep, trials: int, folder: Path, storage: Path, held_out: Mapping[str, object],
           command: str) -> int:
    """Run the trials that are not done yet, keep the leaderboard in `folder` up to date, tell; the exit status.

    held_out: settings that only the sweep needs, which best.yaml leaves out. EngineError where another process is at
    it, `storage` is no file for it, or not one trial finished.
    """
    recipe = sweep.recipe
    make_folder(folder)
    make_folder(storage.parent)
    about = {"recipe": recipe.name, "seed": sweep.seed, "validation": recipe.values["data.validation"],
             "command": command, "hardware": run_folder.hardware(choose_device(recipe.values["train.device"])),
             "versions": run_folder.versions(), "commit": run_folder.commit()}
    with FolderLock(storage.parent), Screen() as screen:
        study = open_study(sweep, storage)
        screen.say(f"{len(done(study))} of {trials} trials are done, in {storage}")

        def told(trial):
            write_leaderboard(folder, rows_of(done(study)), about)
            screen.say(line(rows_of([trial])[0], trials))

        try:
            go_on(sweep, study, trials, screen, told)
        except Interrupted as interrupted:
            screen.say(f"stopped by {interrupted}; the same command goes on")
            return interrupted.status
        rows, shares = rows_of(done(study)), importance(study)
        write_leaderboard(folder, rows, {**about, "importance": shares})
        screen.console.print(table(rows, f"sweep of {recipe.name}"))
        screen.table("the best", conclude(sweep, rows, shares, held_out, folder))
        # Apart from the table, which would break it where the folder's name is long.
        screen.say(f"train with it: python -m engine.train --recipe {recipe.name} --config-file {folder / BEST}")
    return 0


def conclude(sweep: Sweep, rows: list[dict], shares: Mapping[str, float], held_out: Mapping[str, object],
             folder: Path) -> list[tuple[str, str]]:
    """Write best.yaml and importance.png; the closing rows. EngineError where no trial finished."""
    best, own = rows[0], next(row for row in rows if row["trial"] == 0)
    if best["state"] != "finished":
        raise EngineError(f"none of the {len(rows)} trials finished, the recipe's own settings among them "
                          f"({own['reason']}): mend those, or search lower rates")
    given = (sweep.load(best["settings"]) if best["trial"] else sweep.recipe).given
    file, name = folder / BEST, sweep.recipe.name
    write_best(file, name, without(name, given, held_out), best["validation_top1"])
    reached = f"{percent(best['validation_top1'])}, the recipe's own {percent(own['validation_top1'])}"
    told = [("validation top-1", f"{reached} ({own['reason']})" if own["reason"] else reached),
            ("trial", str(best["trial"])), ("settings", str(file)),
            ("leaderboard", str(folder / "leaderboard.csv"))]
    if not shares:
        return [*told, ("importance", "not drawn: too few trials finished")]
    points = [(row["settings"], row["validation_top1"]) for row in sorted(rows, key=lambda row: row["trial"])
              if row["state"] == "finished"]
    scales = {one.path: one.scale for one in sweep.space}
    picture = draw_importance(shares, points, scales, folder / "importance.png",
                              f"Sweep of {name}, {len(rows)} trials", own["state"] == "finished")
    return [*told, ("importance", str(picture))]


def without(recipe: str, given: Mapping[str, object], held_out: Mapping[str, object]) -> dict[str, object]:
    """`given` as plain values, less what only the sweep needed, unless something else in it needs that too."""
    plain = {path: load.as_plain(value) for path, value in given.items()}
    fewer = {path: value for path, value in plain.items() if path not in held_out}
    try:
        load.load(recipe, None, fewer)
    except load.RecipeError:
        return plain
    return fewer
