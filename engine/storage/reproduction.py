"""A run and its repetition: the recipe to run again, and what is equal and what is not."""

from pathlib import Path

from engine.common.errors import EngineError
from engine.common.files import finite, read_json
from engine.storage.history import read_history
from engine.storage.run_lookup import read_recipe
from recipes.settings.load import Recipe, restore

# What a summary says of the machine and the code; differences there explain differences in the result.
CIRCUMSTANCES = ("device", "processes", "precision", "step", "feed", "versions", "hardware", "commit")
RESULTS = ("train_loss", "train_top1", "validation_loss", "validation_top1", "test_loss", "test_top1")


def read_run(folder: Path) -> tuple[dict, list[dict]]:
    """summary.json and the rows of metrics.csv; EngineError where one is missing or damaged."""
    way, problems = "give the folder of a finished run", []
    summary = read_json(folder / "summary.json", way)
    # A run that diverged is compared too: its NaN equals another's.
    history = finite(read_history(folder / "metrics.csv", problems))
    if problems or not history or not all(set(RESULTS) <= set(row) for row in history):
        raise EngineError(f"{folder / 'metrics.csv'} is missing or damaged: {way}")
    if not {"weights_sha256", *CIRCUMSTANCES} <= set(summary):
        raise EngineError(f"{folder / 'summary.json'} is missing or damaged: {way}")
    return summary, history


def recipe_again(folder: Path, new_folder: Path, summary: dict) -> Recipe:
    """The recipe of the run in `folder`, to be run in `new_folder`; what was chosen automatically then is fixed."""
    recipe = read_recipe(folder)
    fixed = {"train.device": summary["device"].split(":")[0], "train.precision": summary["precision"],
             "train.threads": summary["hardware"]["torch_threads"], "run.folder": str(new_folder), "log.to": "files"}
    return restore(recipe.name, {**recipe.values, **fixed})


def compare(first: tuple[dict, list[dict]], second: tuple[dict, list[dict]]) -> dict:
    """Whether weights and results of each epoch are equal, the first epoch that differs, differing circumstances."""
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
        console.print("the run was given more epochs after its end, which changed its schedule: its first epochs used "
                      "a different one")
    if compared["first_epoch_apart"]:
        console.print(f"the first epoch whose results differ: {compared['first_epoch_apart']}")
