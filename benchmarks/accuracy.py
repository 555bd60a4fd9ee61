"""The accuracy of recipes: runs each with n seeds within a budget, keeps a row per run, renders the README's table.

    python -m benchmarks.accuracy --recipes baseline,cnn4 --seeds 3 --budget-minutes 60 --data.root=DIR
    python -m benchmarks.accuracy --render

The next call resumes a run that the budget stopped; a run that has a row is not repeated.
"""

import hashlib
import json
import shlex
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from benchmarks.common.commands import names_in, run_until
from benchmarks.common.display import spread
from benchmarks.common.readme import fill
from benchmarks.common.results import device_name, label_of, read_rows, shareable, write_rows
from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from engine.common.files import read_json
from recipes.settings import load

RESULTS = Path(__file__).parent / "results" / "accuracy.json"
# The accuracy that each seed system's author reports, by the recipe that reproduces it.
CLAIMS = {"baseline": "44.34 % (notebook)", "cnn4": "about 89 %", "resnet34": "75.14 %, test-selected",
          "resnet50": "84.35 %"}
# Keys that a row copies from a run's summary.
SUMMARY_KEYS = ("recipe", "dataset", "model", "parameters", "epochs", "steps", "train_top1", "val_top1", "test_top1",
                "test_top5", "test_loss", "stopped", "train_seconds", "epochs_per_second", "images_per_second",
                "feed_wait_share", "compile_seconds", "device", "precision", "seed", "weights_sha256")
HEAD = ("recipe", "data", "author's", "test top-1, last epoch", "epochs", "training s", "wall s", "epochs/s",
        "hardware", "n")


def main(argv: list[str] | None = None) -> int:
    parser = Parser("benchmarks.accuracy", __doc__)
    parser.add_argument("--recipes", metavar="A,B", default="", help="recipes to run, separated by commas")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each recipe, seeds 0..N-1")
    parser.add_argument("--budget-minutes", type=float, default=60.0, metavar="M", help="time limit (60); resumable")
    parser.add_argument("--json", default=str(RESULTS), metavar="FILE", help=f"results file (default {RESULTS.name})")
    parser.add_argument("--runs", default="runs/accuracy", metavar="DIR", help="folder of the run folders")
    parser.add_argument("--render", action="store_true", help="write the README's table from the rows")
    options, settings = parser.read(argv)
    names = names_in(options.recipes)
    if not names and not options.render:
        parser.error("--recipes is missing: name some, or --render the table from the existing rows")
    if own := [path for path in settings if path in ("train.seed", "train.repeats", "run.folder")]:
        parser.error(f"--{own[0]} cannot be given here: --seeds sets the number of runs, --runs their folder")
    if options.seeds < 1 or not 0 < options.budget_minutes < float("inf"):
        parser.error(f"--seeds={options.seeds} and --budget-minutes={options.budget_minutes:g} must be above 0")
    recipes = [load.load(name, settings=settings) for name in names]
    file, deadline = Path(options.json), time.monotonic() + 60 * options.budget_minutes
    if not all(run_seeds(recipe, options.seeds, Path(options.runs), file, deadline) for recipe in recipes):
        print(f"the budget of {options.budget_minutes:g} minutes is spent; run the same command again to continue")
    if options.render:
        fill("accuracy", table(read_rows(file), lines_with_names(file)))
    return 0


def label(recipe: load.Recipe, seed: int) -> str:
    """A row's name: the recipe, the given settings that affect the result, the seed."""
    return f"{label_of(recipe, 'data.workers')} seed {seed}"


def run_seeds(recipe: load.Recipe, seeds: int, runs: Path, results: Path, deadline: float) -> bool:
    """Run or resume seeds 0..seeds-1 of a recipe, in one process, which compiles once; False if time ran out first."""
    known = {row["name"] for row in read_rows(results)} if results.exists() else set()
    if not (missing := [seed for seed in range(seeds) if label(recipe, seed) not in known]):
        return True
    if time.monotonic() >= deadline:
        return False
    first, last = missing[0], missing[-1]
    name = label(recipe, first) + (f" to {last}" if last > first else "")
    # Interrupted repeats may have started at an earlier seed, which has its row by now.
    repeats = [runs / folder_name(f"{label(recipe, seed)} to {last}") for seed in range(min(first, last - 1) + 1)]
    folder = next((each for each in repeats if (each / "repeats.json").exists()), runs / folder_name(name))
    repeated = last > first or (folder / "repeats.json").exists()
    words = [sys.executable, "-m", "engine.train", "--resume", str(folder)]
    if not folder.exists():
        words = [sys.executable, *shlex.split(recipe.command())[1:], f"--train.seed={first}", f"--run.folder={folder}"]
        words += [f"--train.repeats={last - first + 1}"] if repeated else []
        # A report per seed would use up the budget.
        words += ["--run.report=false"] if "run.report" not in recipe.given else []
    status = 0 if (folder / "summary.json").exists() else run_until(words, deadline)
    for seed in missing:
        run_folder = folder / f"seed_{seed}" if repeated else folder
        if (run_folder / "summary.json").exists():
            add_row(label(recipe, seed), run_folder, results)
    if status:
        raise EngineError(f"{name} ended with status {status}: its folder is {folder}")
    return status is not None


def folder_name(name: str) -> str:
    """A row's name as a folder name; a long one is cut and gets a digest."""
    plain = "".join(letter if letter.isalnum() or letter in "._-=" else "_" for letter in name)
    return plain if len(plain) <= 120 else f"{plain[:100]}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def add_row(name: str, folder: Path, results: Path) -> None:
    advice = "remove the folder and run again"
    summary = read_json(folder / "summary.json", advice)
    try:
        command = shareable(shlex.split(summary["command"]))
        environment = {key: summary[key] for key in ("hardware", "versions", "commit")}
        row = {"name": name} | {key: summary[key] for key in SUMMARY_KEYS}
        # Runs of former versions did not measure these.
        row["wall_seconds"], environment["load"] = summary.get("wall_seconds"), summary.get("load")
        row["norms"] = summary.get("norms", "torch")
    except (ValueError, KeyError, AttributeError):
        raise EngineError(f"{folder / 'summary.json'} is incomplete: {advice}") from None
    write_rows(results, [row], environment, command, merge=True)


def table(rows: list[dict], lines_of: Mapping[str, int] = MappingProxyType({})) -> str:
    """Markdown: a line for each recipe, its changed settings and machine, over the seeds; unmeasured recipes too.

    lines_of: where in the results file a row has its name; an accuracy links to the first of its rows.
    """
    groups: dict[tuple[str, tuple], list[dict]] = {}
    for row in rows:
        facts = row["environment"]["hardware"]
        # Former versions did not note the matrix instructions.
        machine = (facts.get("gpu", facts["processor"]), facts["cores"], row["precision"], row.get("norms", "torch"))
        groups.setdefault((row["name"].rsplit(" seed ", 1)[0], machine), []).append(row)
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for name in load.names():
        claim = CLAIMS.get(name, "-")
        own = {key: group for key, group in groups.items() if group[0]["recipe"] == name}
        if not any(label == name for label, _ in own):
            data = load.load(name).values["data.name"]
            lines.append(f"| `{name}` | {data} | {claim} | not yet measured | | | | | | |")
        for (label, _), group in sorted(own.items()):
            changed = label[len(name) + 1:]
            seconds, epochs = statistics.mean(row["train_seconds"] for row in group), group[0]["epochs"]
            walls = [row.get("wall_seconds") for row in group]
            wall = "-" if None in walls else f"{statistics.mean(walls):,.0f}"
            cells = (f"`{name}`" + (f" with `{changed}`" if changed else ""), group[0]["dataset"],
                     "-" if changed else claim, linked(spread([row["test_top1"] for row in group]), group, lines_of),
                     epochs, f"{seconds:,.0f}", wall, f"{epochs / seconds:.3g}", machine_of(group), len(group))
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def linked(text: str, group: list[dict], lines_of: Mapping[str, int]) -> str:
    """`text` as a link to the first row of a group, where its line is known."""
    line = lines_of.get(group[0]["name"])
    return f"[{text}](benchmarks/results/{RESULTS.name}#L{line})" if line else text


def machine_of(group: list[dict]) -> str:
    """The machine of a group's rows, their precision, and how many cores others kept busy meanwhile."""
    facts = max((row["environment"]["hardware"] for row in group), key=lambda facts: len(device_name(facts)))
    text = f"{device_name(facts)}, {facts['cores']} cores, {group[0]['precision']}"
    loads = [load for row in group if (load := row["environment"].get("load"))]
    busy = statistics.mean(load["other_cores"] + load["stolen_cores"] for load in loads) if loads else 0.0
    return f"{text}; others kept {busy:.1f} cores busy" if busy >= 0.1 else text


def lines_with_names(file: Path) -> dict[str, int]:
    """A row's name -> the line of the results file that holds it, counted from 1."""
    mark = '  "name": '
    return {json.loads(line[len(mark):].rstrip(",")): number
            for number, line in enumerate(file.read_text("utf-8").splitlines(), 1) if line.startswith(mark)}


if __name__ == "__main__":
    sys.exit(run_command(main))
