"""The results of a sweep's trials, best first, as files and as a table, and the best settings."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.table import Table

from engine.common.files import write_atomic, write_json
from engine.training.criterion import CRITERIA, Criterion, in_words

STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "refused"}


def leaderboard_rows(trials: Sequence, criterion: Criterion = CRITERIA["top1"]) -> list[dict]:
    """Rows of Optuna's ended trials, best first: finished ones by their last epoch, then pruned, then refused ones.

    Keys: rank, trial, state, what they are judged by (validation_top1, ...), epochs, seconds (by the clock), settings
    (path -> value) and reason ("" where there is none). The value is that of the last epoch, None if no epoch ended;
    ties go to the earlier trial.
    """
    measure, sign = f"validation_{criterion.name}", 1 if criterion.lower else -1
    rows = [{"rank": 0, "trial": trial.user_attrs["number"], "state": STATES[trial.state.name],
             measure: values[max(values)] if (values := trial.intermediate_values) else None,
             "epochs": len(values), "seconds": round(trial.duration.total_seconds(), 2),
             "settings": trial.user_attrs.get("settings", {}), "reason": trial.user_attrs.get("reason", "")}
            for trial in trials]
    order = list(STATES.values())
    rows.sort(key=lambda row: (order.index(row["state"]), row[measure] is None, sign * (row[measure] or 0),
                               row["trial"]))
    return [{**row, "rank": rank} for rank, row in enumerate(rows, 1)]


def write_leaderboard(folder: Path, rows: list[dict], about: dict) -> None:
    """Write leaderboard.csv (one column per setting) and leaderboard.json ({**about, "trials": rows})."""
    text = io.StringIO()
    columns = ("rank", "trial", "state", measure_of(rows[0]), "epochs", "seconds")
    writer = csv.DictWriter(text, [*columns, *settings_in(rows), "reason"], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, **row["settings"]} for row in rows)
    write_atomic(folder / "leaderboard.csv", text.getvalue().encode())
    write_json(folder / "leaderboard.json", {**about, "trials": rows})


def measure_of(row: dict) -> str:
    """The key of what a row is judged by: validation_top1, ..."""
    return next(key for key in row if key.startswith("validation_"))


def write_best(path: Path, recipe: str, given: dict[str, object], reached: str) -> None:
    """Write a file for --config-file; `given`: the settings that differ from the recipe's, as plain values."""
    tree: dict = {}
    for name, value in given.items():
        head, tail = name.split(".", 1)
        tree.setdefault(head, {})[tail] = value
    head = (f"# The best trial of a sweep: {reached}.\n"
            f"# python -m engine.train --recipe {recipe} --config-file THIS\n")
    write_atomic(path, (head + yaml.safe_dump(tree, sort_keys=False)).encode())


def leaderboard_table(rows: list[dict], title: str) -> Table:
    """The rows for a terminal."""
    paths = settings_in(rows)
    table = Table(title=title, title_justify="left")
    criterion = CRITERIA[measure_of(rows[0]).removeprefix("validation_")]
    for name in ("", "trial", f"validation\n{criterion.words}", "epochs", "seconds"):
        table.add_column(name, justify="right")
    for path in paths:
        table.add_column(path.replace(".", ".\n", 1), overflow="fold")
    table.add_column("")
    for row in rows:
        note = "own" if row["trial"] == 0 else "" if row["state"] == "finished" else row["state"]
        table.add_row(str(row["rank"]), str(row["trial"]), reached(row), str(row["epochs"]),
                      f"{row['seconds']:.0f}", *(short(row["settings"].get(path)) for path in paths), note)
    return table


def trial_line(row: dict, trials: int) -> str:
    """One line about a trial that ended; the sweep has `trials` in all."""
    values = "".join(f"  {path}={short(value)}" for path, value in row["settings"].items())
    measure = measure_of(row)
    value = "" if row[measure] is None else f"  {in_words(measure, row[measure])}"
    ended = "" if row["state"] == "finished" else f"  {row['state']} after {row['epochs']} epochs"
    reason = f": {row['reason']}" if row["reason"] else ""
    return f"trial {row['trial']} (the last is {trials - 1}){values}{value}  {row['seconds']:.1f} s{ended}{reason}"


def reached(row: dict) -> str:
    """What a row is judged by, for people; "-" if no epoch ended."""
    measure = measure_of(row)
    return "-" if row[measure] is None else CRITERIA[measure.removeprefix("validation_")].shown(row[measure])


def settings_in(rows: list[dict]) -> list[str]:
    """The settings of all rows, in the order of the trials."""
    return list(dict.fromkeys(path for row in sorted(rows, key=lambda row: row["trial"]) for path in row["settings"]))


def short(value: object) -> str:
    """A setting's value, shortened; "-" if the setting does not apply."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
