"""A run and its repetition: the recipe to run again, and what is the same and what is not."""

import json
from pathlib import Path

from engine.common.errors import EngineError
from engine.storage.run_lookup import read_recipe
from recipes.settings.load import Recipe, restore

# What a summary says of the machine and the code; differences there explain differences in the result.
CIRCUMSTANCES = ("device", "processes", "precision", "step", "feed", "versions", "hardware", "commit")
RESULTS = ("train_loss", "train_top1", "validation_loss", "validation_top1", "test_loss", "test_top1")


def read_run(folder: Path) -> tuple[dict, list[dict]]:
    """summary.json and the rows of metrics.jsonl; EngineError where the run is not finished or they are damaged."""
    try:
        summary = json.loads((folder / "summary.json").read_text("utf-8"))
        history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
        assert {"weights_sha256", *CIRCUMSTANCES} <= set(summary) and all(set(RESULTS) <= set(row) for row in history)
    except FileNotFoundError as error:
        raise EngineError(f"{folder} has no {Path(error.filename).name}: give the folder of a finished run") from None
    except (OSError, ValueError, TypeError, AssertionError):
        raise EngineError(f"{folder}: summary.json or metrics.jsonl is damaged: give another run") from None
    return summary, history


def again(folder: Path, new_folder: Path, summary: dict) -> Recipe:
    """The recipe of the run in `folder`, with what was chosen automatically then fixed, to be run in `new_folder`."""
    recipe = read_recipe(folder)
    fixed = {"train.device": summary["device"].split(":")[0], "train.precision": summary["precision"],
             "train.threads": summary["hardware"]["torch_threads"], "run.folder": str(new_folder), "log.to": "files"}
    return restore(recipe.name, {**recipe.values, **fixed})


def compare(first: tuple[dict, list[dict]], second: tuple[dict, list[dict]]) -> dict:
    """Whether weights and each epoch's results are equal, the first epoch that differs, and differing circumstances."""
    (one, rows), (two, new_rows) = first, second
    pairs = list(zip(rows, new_rows, strict=False))
    apart = [row["epoch"] + 1 for row, new in pairs if any(row[key] != new[key] for key in RESULTS)]
    if len(rows) != len(new_rows):
        apart.append(len(pairs) + 1)
    return {"same_weights": one["weights_sha256"] == two["weights_sha256"],
            "first_epoch_apart": min(apart, default=None),
            "weights_sha256": [one["weights_sha256"], two["weights_sha256"]],
            "test_top1": [one.get("test_top1"), two.get("test_top1")],
            "train_seconds": [one.get("train_seconds"), two.get("train_seconds")],
            "circumstances": {key: [one[key], two[key]] for key in CIRCUMSTANCES if one[key] != two[key]}}


def show(compared: dict) -> None:
    """Print the comparison as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "the run", "again", title="reproduced" if compared["same_weights"] else "not reproduced",
                  title_justify="left")
    for name, (one, two) in {"weights": [digest[:16] for digest in compared["weights_sha256"]],
                             "test top-1": compared["test_top1"], "training seconds": compared["train_seconds"],
                             **compared["circumstances"]}.items():
        table.add_row(name, str(one), str(two))
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table)
    if compared["extended"]:
        console.print("the run was given more epochs after its end, which drew its schedule anew: its first epochs had "
                      "another one")
    if compared["first_epoch_apart"]:
        console.print(f"the first epoch whose results differ: {compared['first_epoch_apart']}")
