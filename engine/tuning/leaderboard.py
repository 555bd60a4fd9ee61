"""What a sweep's trials came to: rows in order of merit, as files, as a table, and the best one's settings."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.table import Table

from engine.common.files import write_atomic, write_json

STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "refused"}
COLUMNS = ("rank", "trial", "state", "validation_top1", "epochs", "seconds")


def rows_of(trials: Sequence) -> list[dict]:
    """Rows of Optuna's ended trials, best first: finished ones by their last epoch, then pruned, then refused ones.

    Keys: COLUMNS, settings (path -> value) and reason ("" where there is none). A pruned one's validation_top1 is that
    of the epoch at which it was given up, None where there was none; ties go to the earlier trial.
    """
    rows = []
    for trial in trials:
        reached = trial.intermediate_values
        rows.append({"rank": 0, "trial": trial.user_attrs["number"], "state": STATES[trial.state.name],
                     "validation_top1": reached[max(reached)] if reached else None, "epochs": len(reached),
                     "seconds": round(trial.duration.total_seconds(), 2),
                     "settings": trial.user_attrs.get("settings", {}), "reason": trial.user_attrs.get("reason", "")})
    order = list(STATES.values())
    rows.sort(key=lambda row: (order.index(row["state"]), -(row["validation_top1"] or 0), row["trial"]))
    return [{**row, "rank": rank} for rank, row in enumerate(rows, 1)]


def write_leaderboard(folder: Path, rows: list[dict], about: dict) -> None:
    """leaderboard.csv (a column a setting) and leaderboard.json ({**about, "trials": rows}) into `folder`."""
    paths = settings_in(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *paths, "reason"])
    for row in rows:
        writer.writerow([*(row[name] for name in COLUMNS), *(row["settings"].get(path) for path in paths),
                         row["reason"]])
    write_atomic(folder / "leaderboard.csv", text.getvalue().encode())
    write_json(folder / "leaderboard.json", {**about, "trials": rows})


def write_best(path: Path, recipe: str, given: dict[str, object], top1: float) -> None:
    """A trial's settings as a file for --config-file; `given` are those that differ from the recipe's, as plain values.
    """
    tree: dict = {}
    for name, value in given.items():
        head, tail = name.split(".", 1)
        tree.setdefault(head, {})[tail] = value
    head = (f"# The best trial of a sweep: {top1:.2%} of the held-out images right.\n"
            f"# python -m engine.train --recipe {recipe} --config-file THIS\n")
    write_atomic(path, (head + yaml.safe_dump(tree, sort_keys=False)).encode())


def table(rows: list[dict], title: str) -> Table:
    """The rows for a terminal."""
    paths = settings_in(rows)
    made = Table(title=title, title_justify="left")
    for name, side in (("", "right"), ("trial", "right"), ("validation", "right"), ("epochs", "right"),
                       ("seconds", "right")):
        made.add_column(name, justify=side)
    for path in paths:
        made.add_column(path.replace(".", ".\n", 1), overflow="fold")
    made.add_column("")
    for row in rows:
        top1 = percent(row["validation_top1"])
        note = "own" if row["trial"] == 0 else "" if row["state"] == "finished" else row["state"]
        made.add_row(str(row["rank"]), str(row["trial"]), top1, str(row["epochs"]), f"{row['seconds']:.0f}",
                     *(shown(row["settings"].get(path)) for path in paths), note)
    return made


def line(row: dict, trials: int) -> str:
    """A trial that ended, for the screen."""
    values = "".join(f"  {path}={shown(value)}" for path, value in row["settings"].items())
    top1 = "" if row["validation_top1"] is None else f"  validation top-1 {row['validation_top1']:.2%}"
    ended = "" if row["state"] == "finished" else f"  {row['state']} after {row['epochs']} epochs"
    reason = f": {row['reason']}" if row["reason"] else ""
    return f"trial {row['trial']} (the last is {trials - 1}){values}{top1}  {row['seconds']:.1f} s{ended}{reason}"


def settings_in(rows: list[dict]) -> list[str]:
    """The settings that any row has, in the order in which they first come."""
    return list(dict.fromkeys(path for row in sorted(rows, key=lambda row: row["trial"]) for path in row["settings"]))


def percent(share: float | None) -> str:
    """A share of 1 as percent; "-" where nothing was measured."""
    return "-" if share is None else f"{share:.2%}"


def shown(value: object) -> str:
    """A setting's value in few letters; "-" where the setting does not apply."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
