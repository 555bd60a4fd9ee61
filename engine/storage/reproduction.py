"""A run and its repetition: the recipe to run again, and what is equal and what is not."""

from pathlib import Path

from engine.common.errors import EngineError
from engine.common.files import finite, read_json
from engine.storage.history import read_history
from engine.storage.run_lookup import read_recipe
from recipes.settings.load import Recipe, restore

# What a run folder says of machine, code and data; differences there explain differences in the result.
CIRCUMSTANCES = ("device", "processes", "precision", "step", "feed", "versions", "hardware", "commit", "data")
SECONDS = ("train_seconds", "wall_seconds")
RESULTS = ("train_loss", "train_top1", "validation_loss", "validation_top1", "test_loss", "test_top1")


def read_run(folder: Path) -> tuple[dict, list[dict]]:
    """summary.json with the data's checksums, and the rows of metrics.csv; EngineError where one is missing or damaged.
    """
    way, problems = "give the folder of a finished run", []
    summary = read_json(folder / "summary.json", way)
    env = folder / "env.json"
    checksums = read_json(env, way).get("data") or {} if env.exists() else {}
    summary["data"] = ", ".join(f"{split} {str(checksum)[:8]}" for split, checksum in sorted(checksums.items()))
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


def compare(first: tuple[dict, list[dict]], second: tuple[dict, list[dict]], extended: bool,
            deterministic: bool) -> dict:
    """Whether weights and results of each epoch are equal, the first epoch that differs, differing circumstances, and
    the verdict and its reasons in words.

    extended: whether the first run got more epochs after its end. deterministic: its train.deterministic.
    """
    (one, rows), (two, new_rows) = first, second
    pairs = list(zip(rows, new_rows, strict=False))
    apart = [row["epoch"] + 1 for row, new in pairs if any(row[key] != new[key] for key in RESULTS)]
    if len(rows) != len(new_rows):
        apart.append(len(pairs) + 1)
    compared = {"same_weights": one["weights_sha256"] == two["weights_sha256"],
                "first_epoch_apart": min(apart, default=None),
                **{key: [one.get(key), two.get(key)] for key in ("weights_sha256", "test_top1", *SECONDS)},
                "circumstances": {key: [one[key], two[key]] for key in CIRCUMSTANCES if one[key] != two[key]},
                "extended": extended}
    other_rate = next((f"after epoch {row['epoch'] + 1} {row['lr']}, again {new['lr']}" for row, new in pairs
                       if row.get("lr") != new.get("lr")), "")
    random = one["device"] != "cpu" and not deterministic
    return compared | {"verdict": verdict(compared), "reasons": reasons(compared, other_rate, random)}


def verdict(compared: dict) -> str:
    """Whether the run was reproduced, in a sentence."""
    apart = compared["first_epoch_apart"]
    results = f"results that differ from epoch {apart} on" if apart else "the same results in each epoch"
    if compared["same_weights"]:
        return f"reproduced: the same weights, bit for bit, and {results}"
    return f"not reproduced: other weights, and {results}"


def reasons(compared: dict, other_rate: str, random: bool) -> list[str]:
    """What explains a difference, in sentences; empty without one. other_rate: the first learning rates that differ;
    random: whether the run's operations may give other bits each time.
    """
    if compared["same_weights"] and not compared["first_epoch_apart"]:
        return []
    found = []
    if compared["extended"]:
        found.append("the run was given more epochs after its end, which changed its schedule: its first epochs used a "
                     "different one")
    elif other_rate:
        found.append(f"the learning rates differ ({other_rate}), as where a run was resumed with another train.epochs: "
                     "its first epochs used the schedule of the former number")
    if compared["circumstances"]:
        found.append(f"other circumstances: {', '.join(compared['circumstances'])}")
    if random:
        found.append("a GPU need not give the same bits without train.deterministic=true")
    return found or ["nothing that the run folders record explains it"]


def show(compared: dict) -> None:
    """Print the comparison as a table, the verdict and its reasons."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "the run", "again")
    for name, (one, two) in {"weights": [digest[:16] for digest in compared["weights_sha256"]],
                             "test top-1": compared["test_top1"],
                             **{key.replace("_", " "): map(seconds_of, compared[key]) for key in SECONDS},
                             **compared["circumstances"]}.items():
        table.add_row(name, str(one), str(two))
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table)
    for line in (compared["verdict"], *(f"reason: {reason}" for reason in compared["reasons"])):
        console.print(line, soft_wrap=True)


def seconds_of(value: float | None) -> str:
    """Seconds for the table; "-" where they were not measured."""
    return "-" if value is None else f"{value:,.1f}"
