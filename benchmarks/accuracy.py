"""What recipes reach: runs them with n seeds within a time budget, keeps a row a run, renders the README's table.

    python -m benchmarks.accuracy --recipes baseline,cnn4 --seeds 3 --budget-minutes 60 --data.root=DIR
    python -m benchmarks.accuracy --render

A run that the budget ends is left resumable and goes on with the next call; runs that have their row are not repeated.
"""

import hashlib
import json
import shlex
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.common.readme import fill
from benchmarks.common.results import read_rows, shareable, write_rows
from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from recipes.settings import load

RESULTS = Path(__file__).parent / "results" / "accuracy.json"
# What each seed system's author reports for the recipe that reproduces it.
CLAIMS = {"baseline": "44.34 % (notebook)", "cnn4": "about 89 %", "resnet34": "75.14 %, test-selected",
          "resnet50": "84.35 %"}
KEPT = ("recipe", "dataset", "model", "parameters", "epochs", "steps", "train_top1", "val_top1", "test_top1",
        "test_top5", "test_loss", "stopped", "train_seconds", "epochs_per_second", "images_per_second",
        "feed_wait_share", "compile_seconds", "device", "precision", "seed", "weights_sha256", "command")


def main(argv: list[str] | None = None) -> int:
    """The door: run what is asked for, write rows, render."""
    parser = Parser("benchmarks.accuracy", __doc__)
    parser.add_argument("--recipes", metavar="A,B", default="", help="recipes to run, with commas between")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each recipe, seeds 0..N-1")
    parser.add_argument("--budget-minutes", type=float, default=60.0, metavar="M", help="stop after so long, resumably")
    parser.add_argument("--json", default=str(RESULTS), metavar="FILE", help=f"rows go here (default {RESULTS.name})")
    parser.add_argument("--runs", default="runs/accuracy", metavar="DIR", help="folder of the run folders")
    parser.add_argument("--render", action="store_true", help="write the README's table from the rows")
    options, settings = parser.read(argv)
    names = [name for name in options.recipes.split(",") if name]
    if not names and not options.render:
        parser.error("--recipes is missing: name some, or --render the table from the rows there are")
    own = [path for path in settings if path in ("train.seed", "train.repeats", "run.folder")]
    if own:
        parser.error(f"--{own[0]} is this command's own: --seeds says how many, --runs where")
    if options.seeds < 1 or not 0 < options.budget_minutes < float("inf"):
        parser.error(f"--seeds={options.seeds} and --budget-minutes={options.budget_minutes:g} must be above 0")
    wanted = {name: load.load(name, settings=settings) for name in names}
    ends = time.monotonic() + 60 * options.budget_minutes
    for recipe in wanted.values():
        if not run_seeds(recipe, options.seeds, Path(options.runs), Path(options.json), ends):
            print(f"the budget of {options.budget_minutes:g} minutes is spent; the same command goes on")
            break
    if options.render:
        fill("accuracy", table(read_rows(Path(options.json))))
    return 0


def label(recipe: load.Recipe, seed: int) -> str:
    """A row's name: the recipe, what was changed that can change the result, the seed."""
    changed = [f"{path}={load.as_text(value)}" for path, value in sorted(recipe.given.items())
               if not path.startswith(("data.root", "data.cache", "data.workers", "data.download", "run."))]
    return " ".join([recipe.name, *changed, f"seed {seed}"])


def run_seeds(recipe: load.Recipe, seeds: int, runs: Path, results: Path, ends: float) -> bool:
    """Run or resume seeds 0..seeds-1 of a recipe until each has its row; False where the time ran out first.

    Seeds without a row follow those with one, so they go through one process as train.repeats: compiled once.
    """
    known = {row["name"] for row in read_rows(results)} if results.exists() else set()
    missing = [seed for seed in range(seeds) if label(recipe, seed) not in known]
    if not missing:
        return True
    if time.monotonic() >= ends:
        return False
    first, count = missing[0], missing[-1] - missing[0] + 1
    name = f"{label(recipe, first)}" + (f" to {missing[-1]}" if count > 1 else "")
    folder = begun_folder(recipe, first, missing[-1], runs) or runs / folder_name(name)
    count = max(count, 2) if (folder / "repeats.json").exists() else count
    words = [sys.executable, "-m", "engine.train", "--resume", str(folder)]
    if not folder.exists():
        words = [sys.executable, *shlex.split(recipe.command())[1:], f"--train.seed={first}", f"--run.folder={folder}"]
        words += [f"--train.repeats={count}"] if count > 1 else []
        # A page for each of many seeds would come out of the budget.
        words += ["--run.report=false"] if "run.report" not in recipe.given else []
    status = 0 if (folder / "summary.json").exists() else run_until(words, ends)
    for seed in missing:
        done = folder / f"seed_{seed}" if count > 1 else folder
        if (done / "summary.json").exists():
            add_row(label(recipe, seed), done, results)
    if status:
        raise EngineError(f"{name} ended with status {status}: its folder is {folder}")
    return status is not None


def begun_folder(recipe: load.Recipe, first: int, last: int, runs: Path) -> Path | None:
    """The folder of repeats up to seed `last` that began with an earlier seed than `first`, or with it, and stopped."""
    folders = [runs / folder_name(f"{label(recipe, seed)} to {last}") for seed in range(min(first, last - 1) + 1)]
    return next((folder for folder in folders if (folder / "repeats.json").exists()), None)


def folder_name(name: str) -> str:
    """A row's name as a folder's; of a long one the beginning and a digest."""
    plain = "".join(letter if letter.isalnum() or letter in "._-=" else "_" for letter in name)
    return plain if len(plain) <= 120 else f"{plain[:100]}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def run_until(words: list[str], ends: float) -> int | None:
    """Run a command; its exit status, or None where it had to be told to stop because the time was over."""
    # Told to stop itself, it must not leave the run behind.
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    process = subprocess.Popen(words)
    try:
        return process.wait(max(1.0, ends - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait()
        signal.signal(signal.SIGTERM, previous)


def add_row(name: str, folder: Path, results: Path) -> None:
    """Write the row of a finished run, its command without the folders of the machine it ran on."""
    try:
        summary = json.loads((folder / "summary.json").read_text())
        command = shareable(shlex.split(summary["command"]))
        environment = {key: summary[key] for key in ("hardware", "versions", "commit")}
        row = {"name": name} | {key: summary[key] for key in KEPT if key != "command"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise EngineError(f"{folder} has no whole summary.json: remove the folder and run again") from None
    write_rows(results, [row], environment, command, merge=True)


def table(rows: list[dict]) -> str:
    """Markdown: a line for each recipe and each change of one, over its seeds; recipes without rows say so."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row["name"].rsplit(" seed ", 1)[0] + "\0" + hardware(row), []).append(row)
    lines = ["| recipe | data | author's | test top-1, last epoch | epochs | seconds | epochs/s | hardware | n |",
             "|---|---|---|---|---|---|---|---|---|"]
    for name in load.names():
        data, claim = load.load(name).values["data.name"], CLAIMS.get(name, "-")
        own = {key: group for key, group in groups.items() if group[0]["recipe"] == name}
        full = any(key.split("\0")[0] == name for key in own)
        if not full:
            lines.append(f"| `{name}` | {data} | {claim} | not yet measured | | | | | |")
        for key, group in sorted(own.items()):
            changed = key.split("\0")[0][len(name) + 1:]
            title = f"`{name}`" + (f" with `{changed}`" if changed else "")
            seconds = statistics.mean(row["train_seconds"] for row in group)
            lines.append(f"| {title} | {group[0]['dataset']} | {claim if not changed else '-'} | {spread(group)} | "
                         f"{group[0]['epochs']} | {seconds:,.0f} | {group[0]['epochs'] / seconds:.3g} | "
                         f"{key.split(chr(0))[1]} | {len(group)} |")
    return "\n".join(lines) + "\n"


def spread(group: list[dict]) -> str:
    """Mean and, from two runs on, standard deviation of the test accuracy in %."""
    values = [100 * row["test_top1"] for row in group]
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation} %"


def hardware(row: dict) -> str:
    """What the run ran on, short."""
    facts = row["environment"]["hardware"]
    return f"{facts.get('gpu') or facts['processor']}, {facts['cores']} cores, {row['precision']}"


if __name__ == "__main__":
    sys.exit(run_command(main))
