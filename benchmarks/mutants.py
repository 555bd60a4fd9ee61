"""Would the tests notice? Small changes of the code, one at a time, each judged by the tests that run the changed line.

    python -m benchmarks.mutants [--files A,B] [--sample N] [--seed S] [--jobs J] [--json FILE]

`make mutants` runs it, in the repository's folder. The changes are mutmut's, in the files of FOLDERS; --sample takes at
most so many of each file, at random. `benchmarks/mutation/equivalent.yaml` lists those that change nothing that a test
could see, with the reason, and code that only a GPU runs. The status is 1 if fewer than 90 % of all others are killed.
"""

import os
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import yaml

from benchmarks.common.commands import chosen
from benchmarks.common.display import print_table
from benchmarks.common.results import save_rows
from benchmarks.mutation.changes import Mutant, mutants_of
from benchmarks.mutation.forks import preload
from benchmarks.mutation.trail import Trail, watch
from benchmarks.mutation.verdicts import KILLED, UNNOTICED, judge
from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError

FAST, ALL = "not slow and not alone", "not alone"
# Folder -> the tests that belong to it, and which of them run.
FOLDERS = {
    "engine/training": (["tests/engine/training", "tests/engine/build/test_schedule.py"], FAST),
    "engine/optim": (["tests/engine/optim", "tests/engine/build/test_schedule.py"], FAST),
    "loaders/policy": (["tests/loaders/policy", "tests/loaders/host/test_torchvision.py"], FAST),
    "loaders/feeds": (["tests/loaders/feeds"], ALL),
}
FILES = sorted(str(path) for folder in FOLDERS for path in Path(folder).glob("*.py") if path.stem != "__init__")
EQUIVALENT = Path(__file__).parent / "mutation" / "equivalent.yaml"
LISTED = yaml.safe_load(EQUIVALENT.read_text("utf-8"))
COUNTS = ("mutants", "equivalent", "tried", "killed", "survived")
LEAST_PERCENT = 90


def main(argv: list[str] | None = None) -> int:
    parser = Parser("benchmarks.mutants", __doc__, settings=False)
    parser.add_argument("--files", metavar="A,B", help="files to change (all)")
    parser.add_argument("--sample", type=int, metavar="N", help="at most so many mutants of each file (all)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="chooses the sample (0)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="J",
                        help="processes at once (one for each core)")
    parser.add_argument("--json", metavar="FILE", help="rows go here")
    options, _ = parser.read(argv)
    files = chosen("--files", options.files, FILES) if options.files else FILES
    if options.jobs < 1 or (options.sample is not None and options.sample < 1):
        parser.error(f"--jobs={options.jobs} and --sample={options.sample} must be 1 or more")
    torch.set_num_threads(1)
    rows = []
    for folder, (tests, marks) in FOLDERS.items():
        paths = [Path(file) for file in files if str(Path(file).parent) == folder]
        if paths:
            trail = watch(paths, tests, marks)
            preload(trail.modules)
            rows += [judged(path, trail, options.sample, options.seed, options.jobs) for path in paths]
    rows.append(summed(rows))
    print_table(("file", *COUNTS, "killed of tried"),
                [(row["name"], *(str(row[key]) for key in COUNTS), f"{row['killed_percent']} %") for row in rows])
    save_rows(options.json, rows, "benchmarks.mutants", argv)
    return 0 if rows[-1]["killed_percent"] >= LEAST_PERCENT else 1


def judged(path: Path, trail: Trail, sample: int | None, seed: int, jobs: int) -> dict:
    """The row of a file: how many mutants there are, were tried, and fared in which way; the diffs of the survivors.

    EngineError for a listed mutant that the file does not have (any more), and where tests fail without a change.
    """
    mutants, listed = mutants_of(path), LISTED.get(str(path), [])
    for entry in listed:
        if not any(covers(entry, mutant) for mutant in mutants):
            raise EngineError(f"{EQUIVALENT.name}: {path} has no mutant {entry.get('inside') or entry['diff']!r}: "
                              "remove the entry, or write it as it is now")
    real = [mutant for mutant in mutants if not any(covers(entry, mutant) for entry in listed)]
    tried = real if sample is None else sorted(random.Random(seed).sample(real, min(sample, len(real))),
                                               key=lambda mutant: mutant.lines.start)
    print(f"{path}: {len(tried)} of {len(mutants)} mutants, {len(trail.seconds)} tests", flush=True)
    # Where the tests fail in a fork even without a change, each mutant would seem killed.
    unchanged = [replace(mutant, source=path.read_text("utf-8")) for mutant in tried[:1]]
    if not set(judge(path, unchanged, trail, 1, on_judged=lambda *_: None)) <= set(UNNOTICED):
        raise EngineError(f"{path}: tests of line {tried[0].lines.start} fail in a process of their own, without any "
                          "change: mend them first")
    verdicts = judge(path, tried, trail, jobs, on_judged=tell)
    survivors = [{"line": mutant.lines.start, "inside": mutant.inside, "diff": mutant.diff, "verdict": verdict}
                 for mutant, verdict in zip(tried, verdicts, strict=True) if verdict in UNNOTICED]
    return with_percent({"name": str(path), "mutants": len(mutants), "equivalent": len(mutants) - len(real),
                         "tried": len(tried), "killed": len(tried) - len(survivors), "survived": len(survivors),
                         "survivors": survivors})


def covers(entry: dict[str, str], mutant: Mutant) -> bool:
    """Whether an entry of the list means this mutant: its `diff`, or all that lies `inside` a function or class."""
    if "diff" in entry:
        return mutant.diff == entry["diff"].strip()
    return f"{mutant.inside}.".startswith(f"{entry['inside']}.")


def tell(mutant: Mutant, verdict: str) -> None:
    if verdict != KILLED:
        print(f"  {verdict}, line {mutant.lines.start}: {mutant.diff}".replace("\n", "\n    "), flush=True)


def summed(rows: Sequence[dict]) -> dict:
    return with_percent({"name": "all", **{key: sum(row[key] for row in rows) for key in COUNTS}})


def with_percent(row: dict) -> dict:
    return {**row, "killed_percent": round(100 * row["killed"] / max(1, row["tried"]), 1)}


if __name__ == "__main__":
    sys.exit(run_command(main))
