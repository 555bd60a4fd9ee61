"""The results of a sweep's trials, best first, as files and as a table, and the best settings."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.table import Table

from engine.common.files import write_atomic, write_json
from engine.common.text import percent

STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "refused"}
COLUMNS = ("rank", "trial", "state", "validation_top1", "epochs", "seconds")


def leaderboard_rows(trials: Sequence) -> list[dict]:
    """Rows of Optuna's ended trials, best first: finished ones by their last epoch, then pruned, then refused ones.

    Keys: COLUMNS, settings (path -> value) and reason ("" where there is none). validation_top1 (0..1) is that of the
    last epoch, None if no epoch ended; ties go to the earlier trial.
    """
    rows = [{"rank": 0, "trial": trial.user_attrs["number"], "state": STATES[trial.state.name],
             "validation_top1": reached[max(reached)] if (reached := trial.intermediate_values) else None,
             "epochs": len(reached), "seconds": round(trial.duration.total_seconds(), 2),
             "settings": trial.user_attrs.get("settings", {}), "reason": trial.user_attrs.get("reason", "")}
            for trial in trials]
    order = list(STATES.values())
    rows.sort(key=lambda row: (order.index(row["state"]), -(row["validation_top1"] or 0), row["trial"]))
    return [{**row, "rank": rank} for rank, row in enumerate(rows, 1)]


def write_leaderboard(folder: Path, rows: list[dict], about: dict) -> None:
    """Write leaderboard.csv (one column per setting) and leaderboard.json ({**about, "trials": rows})."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*COLUMNS, *settings_in(rows), "reason"], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, **row["settings"]} for row in rows)
    write_atomic(folder / "leaderboard.csv", text.getvalue().encode())
    write_json(folder / "leaderboard.json", {**about, "trials": rows})


def write_best(path: Path, recipe: str, given: dict[str, object], top1: float) -> None:
    """Write a file for --config-file; `given`: the settings that differ from the recipe's, as plain values."""
    tree: dict = {}
    for name, value in given.items():
        head, tail = name.split(".", 1)
        tree.setdefault(head, {})[tail] = value
    head = (f"# The best trial of a sweep: {top1:.2%} of the held-out images right.\n"
            f"# python -m engine.train --recipe {recipe} --config-file THIS\n")
    write_atomic(path, (head + yaml.safe_dump(tree, sort_keys=False)).encode())


def leaderboard_table(rows: list[dict], title: str) -> Table:
    """The rows for a terminal."""
    paths = settings_in(rows)
    table = Table(title=title, title_justify="left")
    for name in ("", "trial", "validation", "epochs", "seconds"):
        table.add_column(name, justify="right")
    for path in paths:
        table.add_column(path.replace(".", ".\n", 1), overflow="fold")
    table.add_column("")
    for row in rows:
        note = "own" if row["trial"] == 0 else "" if row["state"] == "finished" else row["state"]
        table.add_row(str(row["rank"]), str(row["trial"]), percent(row["validation_top1"]), str(row["epochs"]),
                      f"{row['seconds']:.0f}", *(short(row["settings"].get(path)) for path in paths), note)
    return table


def trial_line(row: dict, trials: int) -> str:
    """One line about a trial that ended; the sweep has `trials` in all."""
    values = "".join(f"  {path}={short(value)}" for path, value in row["settings"].items())
    top1 = "" if row["validation_top1"] is None else f"  validation top-1 {row['validation_top1']:.2%}"
    ended = "" if row["state"] == "finished" else f"  {row['state']} after {row['epochs']} epochs"
    reason = f": {row['reason']}" if row["reason"] else ""
    return f"trial {row['trial']} (the last is {trials - 1}){values}{top1}  {row['seconds']:.1f} s{ended}{reason}"


def settings_in(rows: list[dict]) -> list[str]:
    """The settings of all rows, in the order of the trials."""
    return list(dict.fromkeys(path for row in sorted(rows, key=lambda row: row["trial"]) for path in row["settings"]))


def short(value: object) -> str:
    """A setting's value, shortened; "-" if the setting does not apply."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
