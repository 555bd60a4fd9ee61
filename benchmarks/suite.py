"""All benchmarks in one command with a time budget, most important first.

    python -m benchmarks.suite --budget-minutes 9 --json FILE --data.root=DIR     # run it again to continue
    python -m benchmarks.suite --small --json FILE                                # all of it, tiny, on embedded data

Self-checks of every step mode and of the device's pixels; on a GPU then the sprint's accuracy and the rates of the
ResNets beside the matrix peak; then the loaders, epochs of each recipe against its peers, and accuracies. Each part is
a command whose rows lie beside FILE; FILE lists the parts that are done, so a suite that is stopped keeps its results.
The page <device>-<date>.md beside FILE shows them all, with a picture.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.commands import run_until
from benchmarks.common.results import environment, shareable
from benchmarks.throughput.suite_page import write_page
from engine.build.devices import choose_device
from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from engine.common.files import make_folder, read_json, write_json
from recipes.settings import load

# Timed alone, in the way that is fastest on a GPU; beside their peers.
RATED, COMPARED = "resnet34,fast34", ("resnet34", "resnet50", "sprint10", "baseline")
# Settings that --small gives a recipe.
SMALL = {RATED: ["--train.batch=4"], "resnet34": ["--train.batch=4"], "sprint10": ["--train.batch=50"],
         "baseline": ["--train.batch=16"],
         "resnet50": ["--train.batch=2", "--model.weights=", "--model.arch=resnet18",
                      "--augment.policy=resize(px=64), flip()"]}
EMBEDDED = ["--data.name=shapes", "--data.train_count=500", "--data.test_count=100"]


@dataclass(frozen=True)
class Part:
    """One command of the suite: module and arguments. A `resumable` one takes a budget and can be resumed."""

    name: str
    words: tuple[str, ...]
    resumable: bool = False

    @property
    def command(self) -> str:
        return f"python -m {shareable(self.words)}"


def parts(small: bool, settings: dict[str, str], gpu: bool) -> list[Part]:
    """The suite's commands in order of importance."""
    given = [f"--{path}={value}" for path, value in settings.items()]
    # The only given setting that suits parts on the embedded shapes.
    cache = [word for word in given if word.startswith("--data.cache=")]
    quick = ["--seconds", "0.05", "--repeats", "1"] if small else ["--seconds", "1.5", "--repeats", "3"]

    def epochs(part: str, names: str, *words: str) -> Part:
        own = [*EMBEDDED, *SMALL[names], "--check-steps", "5", *cache] if small else given
        # On a CPU, compiling takes most of a minute and is not the default: one recipe shows it.
        modes = [] if gpu or names == "baseline" else ["--modes", "eager"]
        return Part(part, ("benchmarks.epochs", "--recipes", names, *quick, *modes, *words, *own))

    def accuracy(name: str, seeds: int) -> Part:
        own = [*EMBEDDED, "--train.batch=50", "--train.epochs=1", "--eval.batch=50", *cache] if small else given
        return Part(f"accuracy-{name}", ("benchmarks.accuracy", "--recipes", name, "--seeds", str(seeds), *own),
                    resumable=True)

    checked = "quickstart" if small or not gpu else "baseline,sprint10"
    found = [Part("selfcheck", ("benchmarks.selfcheck", "--recipes", checked, *(["--steps", "5"] if small else []),
                                *(given if gpu and not small else cache)))]
    if small or gpu:
        # A GPU may be lent for minutes: what tells most comes first.
        way = ["--modes", "graph"] if gpu else []
        found += [accuracy("sprint10", 2 if small else 5),
                  epochs("rates", RATED, "--feeds", "resident", "--peers", "none", *way)]
    found += [Part("loaders", ("benchmarks.loaders", *quick, *cache)),
              *(epochs(f"epochs-{name}", name) for name in COMPARED)]
    if small:
        return [*found, accuracy("quickstart", 1)]
    scores = {"sprint100": 5, "fast34": 1, "resnet34": 1, "best34": 1} if gpu else {"pocket10": 3, "baseline": 1}
    return found + [accuracy(name, seeds) for name, seeds in scores.items()]


def main(argv: list[str] | None = None) -> int:
    parser = Parser("benchmarks.suite", __doc__)
    parser.add_argument("--budget-minutes", type=float, default=9.0, metavar="M", help="stop after M minutes (9)")
    parser.add_argument("--json", required=True, metavar="FILE", help="the finished parts; rows and page lie beside it")
    parser.add_argument("--small", action="store_true", help="everything tiny, on embedded data")
    options, settings = parser.read(argv)
    if not options.budget_minutes > 0:
        parser.error(f"--budget-minutes={options.budget_minutes:g} must be above 0")
    if options.small and (other := [path for path in settings if path != "data.cache"]):
        parser.error(f"--small runs on embedded data with its own settings: leave --{other[0]} out")
    for name in [] if options.small else COMPARED:
        load.load(name, settings=settings)
    file, device = Path(options.json), choose_device("auto").type
    make_folder(file.parent)
    state, deadline = read_state(file), time.monotonic() + 60 * options.budget_minutes
    state["environment"] = state["environment"] or environment(device)
    todo = parts(options.small, settings, device == "cuda")
    for part in todo:
        known, left_s = known_of(part, state), deadline - time.monotonic()
        if known.get("done") or left_s <= 0:
            continue
        print(f"--- {part.name}", flush=True)
        rows_file = file.with_name(f"{file.stem}-{part.name}.json")
        state["parts"][part.name] = run(part, rows_file, left_s, known.get("seconds", 0.0))
        write_json(file, state)
        write_page(file, state)
    write_page(file, state)
    failed = [name for name, part in state["parts"].items() if part["status"] not in (0, None)]
    if waiting := [part.name for part in todo if not known_of(part, state).get("done")]:
        print(f"the budget of {options.budget_minutes:g} minutes is spent; run the same command again for "
              f"{', '.join(waiting)}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def read_state(file: Path) -> dict:
    """The suite's {environment, parts}, empty if there is no file yet; EngineError if it is another kind of file."""
    if not file.exists():
        return {"environment": {}, "parts": {}}
    advice = "remove it, or give another name with --json"
    state = read_json(file, advice)
    try:
        if ({"hardware", "versions", "commit", "utc"} <= set(state["environment"])
                and all({"done", "status", "seconds", "command"} <= set(part) for part in state["parts"].values())):
            return state
    except (KeyError, TypeError, AttributeError):
        pass
    raise EngineError(f"{file} is not a suite's file: {advice}")


def known_of(part: Part, state: dict) -> dict:
    """A part's entry in the suite's file; empty if its command was another one then."""
    known = state["parts"].get(part.name, {})
    return known if known.get("command") == part.command else {}


def run(part: Part, rows: Path, seconds: float, spent_s: float) -> dict:
    """Run a part for at most `seconds`; returns its entry for the suite's file, with status None if time ran out."""
    # A resumable command gets a little less, so that it stops by itself.
    words, budget_s = [*part.words, "--json", str(rows)], max(seconds - 5, 1)
    if part.resumable:
        words += ["--budget-minutes", f"{budget_s / 60:.4f}", "--runs", str(rows.with_suffix(""))]
    start = time.monotonic()
    status = run_until([sys.executable, "-m", *words], start + seconds)
    took_s = time.monotonic() - start
    # Its status is 0 also when its budget is spent: only the time shows whether it was done.
    cut_off = part.resumable and took_s >= budget_s
    # A part that was killed runs again; one that failed would fail again.
    return {"done": status is not None and status >= 0 and not cut_off, "status": status,
            "seconds": round(spent_s + took_s, 3), "command": part.command}


if __name__ == "__main__":
    sys.exit(run_command(main))
