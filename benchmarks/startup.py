"""How long a user waits before anything happens: `python -m benchmarks.startup [--json FILE] [--data.root=DIR]`.

Each command is timed from the start of its process to the end, except the first training step, which the run itself
times from the start of its process. With the folder of the real CIFAR-100, its conversion and the check of the cached
betons are timed too. Caches and run folders are temporary.
"""

import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.display import print_table
from benchmarks.common.results import save_rows
from benchmarks.common.timing import Timings
from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from engine.common.files import read_json

REPEATS = 3
LIMIT_S = 600
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Case:
    """`python -m *words`, where {n} is the number of the repeat; with `warm_up` repeat -1 comes first and is not timed.

    If there is a `run_folder`, the seconds of the first step in its summary count.
    """

    name: str
    limit_s: float
    words: Sequence[str]
    status: int = 0
    warm_up: bool = False
    run_folder: str = ""

    def command(self, number: int) -> list[str]:
        return [word.replace("{n}", str(number)) for word in self.words]


def cases(folder: Path, data_root: str | None) -> list[Case]:
    """The cases, with caches and runs below `folder`; without `data_root` those of CIFAR-100 are left out."""
    quickstart, run_folder = ["engine.train", "--recipe", "quickstart"], f"{folder}/run{{n}}"
    convert = ["engine.data", "convert", "--data.name=cifar100", f"--data.root={data_root}"]
    found = [
        Case("help", 1, ["engine.train", "--help"]),
        Case("list", 1, ["engine.train", "--list"]),
        Case("rejected setting", 1, [*quickstart, "--train.epoch=3"], 2),
        Case("plan resnet34", 6, ["engine.train", "--recipe", "resnet34", "--plan"]),
        Case("first training step", 12, [*quickstart, "--train.epochs=1", "--run.report=false",
                                         f"--data.cache={folder}/shapes", f"--run.folder={run_folder}"],
             warm_up=True, run_folder=run_folder),
        Case("convert CIFAR-100", 15, [*convert, f"--data.cache={folder}/fresh{{n}}"]),
        Case("check cached CIFAR-100", 1, [*convert, f"--data.cache={folder}/cached"], warm_up=True),
    ]
    return found if data_root else found[:-2]


def launch(words: list[str], status: int) -> float:
    """Seconds of `python -m *words`; EngineError if it ends with another status, or not within LIMIT_S."""
    start = time.perf_counter()
    try:
        done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        raise EngineError(f"`python -m {shlex.join(words)}` did not end within {LIMIT_S} s") from None
    seconds = time.perf_counter() - start
    if done.returncode != status:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise EngineError(f"`python -m {shlex.join(words)}` ended with status {done.returncode}, not {status}: {last}")
    return seconds


def measure(case: Case, repeats: int = REPEATS, launch: Callable[[list[str], int], float] = launch) -> Timings:
    if case.warm_up:
        launch(case.command(-1), case.status)
    values = []
    for number in range(repeats):
        seconds = launch(case.command(number), case.status)
        if case.run_folder:
            summary = Path(case.run_folder.replace("{n}", str(number))) / "summary.json"
            seconds = read_json(summary, "run again")["first_step_seconds"]
        values.append(seconds)
    return Timings(tuple(values))


def row_of(case: Case, timings: Timings) -> dict:
    seconds = timings.row(digits=3)
    return {"name": case.name, "n": seconds.pop("n"), "seconds": seconds, "limit_s": case.limit_s,
            "within": timings.median <= case.limit_s}


def main(argv: list[str] | None = None) -> int:
    parser = Parser("benchmarks.startup", __doc__, settings=False)
    parser.add_argument("--json", metavar="FILE", help="rows go here")
    parser.add_argument("--data.root", dest="data_root", metavar="DIR", help="folder that holds the real CIFAR-100")
    options, _ = parser.read(argv)
    data_root = str(Path(options.data_root).expanduser().resolve()) if options.data_root else None
    rows = []
    with tempfile.TemporaryDirectory(prefix="cadence-startup-") as folder:
        for case in cases(Path(folder), data_root):
            rows.append(row_of(case, measure(case)))
            print(f"{case.name}: {rows[-1]['seconds']['median']:.2f} s", flush=True)
    lines = [(row["name"], *(f"{row['seconds'][key]:.3g}" for key in ("median", "min", "max")), f"{row['limit_s']:g}",
              "yes" if row["within"] else "NO") for row in rows]
    print_table(("wait", "median s", "min s", "max s", "limit s", "within"), lines, title="from command to answer")
    save_rows(options.json, rows, "benchmarks.startup", argv, merge=False)
    return 0


if __name__ == "__main__":
    run_command(main)
