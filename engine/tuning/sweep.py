"""A sweep from its first trial, or the one it was stopped at, to its leaderboard, plot and best settings."""

from collections.abc import Mapping
from pathlib import Path

from engine.build.devices import choose_device
from engine.cli.console import Screen
from engine.cli.signals import Interrupted
from engine.common.environment import commit, hardware, versions
from engine.common.errors import EngineError
from engine.common.files import make_folder
from engine.plots.sweep import Measure, draw_importance
from engine.storage.folder_lock import FolderLock
from engine.training.criterion import in_words
from engine.tuning.held_out import without_added
from engine.tuning.leaderboard import (
    leaderboard_rows,
    leaderboard_table,
    measure_of,
    reached,
    trial_line,
    write_best,
    write_leaderboard,
)
from engine.tuning.trials import Sweep, ended_trials, importance, open_study, run_trials

BEST = "best.yaml"


def run_sweep(sweep: Sweep, trials: int, folder: Path, storage: Path, held_out: Mapping[str, object],
              command: str) -> int:
    """Run the missing trials, keep the leaderboard in `folder` up to date, show the result; the exit status.

    held_out: the settings that only the sweep needs, which best.yaml leaves out. EngineError if another process runs
    the sweep, `storage` cannot be used, or no trial finished.
    """
    recipe = sweep.recipe
    make_folder(folder)
    make_folder(storage.parent)
    about = {"recipe": recipe.name, "seed": sweep.seed, "validation": recipe.values["data.validation"],
             "command": command, "hardware": hardware(choose_device(recipe.values["train.device"])),
             "versions": versions(), "commit": commit()}
    with FolderLock(storage.parent), Screen() as screen:
        study = open_study(sweep, storage)
        screen.say(f"{len(ended_trials(study))} of {trials} trials are done, in {storage}")

        def on_trial(trial):
            write_leaderboard(folder, leaderboard_rows(ended_trials(study), sweep.criterion), about)
            screen.say(trial_line(leaderboard_rows([trial], sweep.criterion)[0], trials))

        try:
            run_trials(sweep, study, trials, screen, on_trial)
        except Interrupted as interrupted:
            screen.say(f"stopped by {interrupted}; the same command resumes the sweep")
            return interrupted.status
        rows, shares = leaderboard_rows(ended_trials(study), sweep.criterion), importance(study)
        write_leaderboard(folder, rows, {**about, "importance": shares})
        screen.console.print(leaderboard_table(rows, f"sweep of {recipe.name}"))
        screen.table("the best", conclude(sweep, rows, shares, held_out, folder))
        # A long folder name would break the table's columns.
        screen.say(f"train with it: python -m engine.train --recipe {recipe.name} --config-file {folder / BEST}")
    return 0


def conclude(sweep: Sweep, rows: list[dict], shares: Mapping[str, float], held_out: Mapping[str, object],
             folder: Path) -> list[tuple[str, str]]:
    """Write best.yaml and importance.png; (name, value) rows about them. EngineError if no trial finished."""
    best, own = rows[0], next(row for row in rows if row["trial"] == 0)
    if best["state"] != "finished":
        raise EngineError(f"none of the {len(rows)} trials finished, the recipe's own settings among them "
                          f"({own['reason']}): correct them, or search lower rates")
    given = (sweep.load(best["settings"]) if best["trial"] else sweep.recipe).given
    name = sweep.recipe.name
    measure, criterion = measure_of(best), sweep.criterion
    write_best(folder / BEST, name, without_added(name, given, held_out), in_words(measure, best[measure]))
    compared = f"{reached(best)}, the recipe's own {reached(own)}"
    about = [(f"validation {criterion.words}", f"{compared} ({own['reason']})" if own["reason"] else compared),
             ("trial", str(best["trial"])), ("settings", str(folder / BEST)),
             ("leaderboard", str(folder / "leaderboard.csv"))]
    if not shares:
        return [*about, ("importance", "not drawn: too few trials finished")]
    points = [(row["settings"], row[measure]) for row in sorted(rows, key=lambda row: row["trial"])
              if row["state"] == "finished"]
    picture = draw_importance(shares, points, {one.path: one.scale for one in sweep.space}, folder / "importance.png",
                              f"Sweep of {name}, {len(rows)} trials",
                              Measure(f"validation {criterion.words}", criterion.lower, criterion.name != "loss"),
                              own["state"] == "finished")
    return [*about, ("importance", str(picture))]
