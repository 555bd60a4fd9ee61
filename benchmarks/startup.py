"""How long a person waits before anything happens: `python -m benchmarks.startup [--json FILE] [--data.root=DIR]`.

Each command runs in a process of its own and is timed from its start to its end, except the first training step,
which the run itself times from the start of its process. With the folder of the real CIFAR-100 its conversion and the
check of the cached betons are timed too. The caches and run folders are temporary.
"""

import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.results import write_rows
from benchmarks.common.timing import Samples, environment, format_seconds
from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError

REPEATS = 3
LIMIT_S = 600
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Case:
    """One wait: `command(number)` gives the words after `python -m` of repeat `number`.

    `warm_up` runs it once unmeasured (repeat -1); `read_s` takes the seconds from what the command left behind.
    """

    name: str
    limit_s: float
    command: Callable[[int], list[str]]
    status: int = 0
    warm_up: bool = False
    read_s: Callable[[int], float] | None = None


def cases(folder: Path, data_root: str | None) -> list[Case]:
    """What is timed, with its limit; `folder` takes caches and runs. Without `data_root` CIFAR-100 is left out."""
    def run_folder(number: int) -> Path:
        return folder / f"run{number}"

    def first_step(number: int) -> list[str]:
        return ["engine.train", "--recipe", "quickstart", "--train.epochs=1", "--run.report=false",
                f"--data.cache={folder / 'shapes'}", f"--run.folder={run_folder(number)}"]

    def convert(cache: str) -> list[str]:
        return ["engine.data", "convert", "--data.name=cifar100", f"--data.root={data_root}",
                f"--data.cache={folder / cache}"]

    found = [
        Case("help", 1, lambda number: ["engine.train", "--help"]),
        Case("list", 1, lambda number: ["engine.train", "--list"]),
        Case("rejected setting", 1, lambda number: ["engine.train", "--recipe", "quickstart", "--train.epoch=3"], 2),
        Case("plan resnet34", 6, lambda number: ["engine.train", "--recipe", "resnet34", "--plan"]),
        Case("first training step", 12, first_step, warm_up=True,
             read_s=lambda number: json.loads((run_folder(number) / "summary.json").read_text())["first_step_seconds"]),
    ]
    if data_root:
        found += [Case("convert CIFAR-100", 15, lambda number: convert(f"fresh{number}")),
                  Case("check cached CIFAR-100", 1, lambda number: convert("cached"), warm_up=True)]
    return found


def launch(words: list[str], status: int) -> float:
    """Run `python -m words...` and return its seconds; EngineError where it ends with another status."""
    began = time.perf_counter()
    try:
        done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        raise EngineError(f"`python -m {shlex.join(words)}` did not end within {LIMIT_S} s") from None
    seconds = time.perf_counter() - began
    if done.returncode != status:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise EngineError(f"`python -m {shlex.join(words)}` ended with status {done.returncode}, not {status}: {last}")
    return seconds


def measure(case: Case, repeats: int = REPEATS, launch: Callable[[list[str], int], float] = launch) -> Samples:
    """Time one case `repeats` times."""
    if case.warm_up:
        launch(case.command(-1), case.status)
    values = []
    for number in range(repeats):
        seconds = launch(case.command(number), case.status)
        values.append(case.read_s(number) if case.read_s else seconds)
    return Samples(tuple(values))


def row_of(case: Case, samples: Samples) -> dict:
    """The case as a results row; `within` compares the median with the limit."""
    seconds = samples.row(digits=3)
    return {"name": case.name, "n": seconds.pop("n"), "seconds": seconds, "limit_s": case.limit_s,
            "within": samples.median <= case.limit_s}


def main(argv: list[str] | None = None) -> int:
    """The door: time every case, show the table, write the rows."""
    from rich.console import Console
    from rich.table import Table

    parser = Parser("benchmarks.startup", __doc__, settings=False)
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--data.root", dest="data_root", metavar="DIR", help="folder that holds the real CIFAR-100")
    options, _ = parser.read(argv)
    data_root = str(Path(options.data_root).expanduser().resolve()) if options.data_root else None
    rows, table = [], Table("wait", "median s", "min s", "max s", "limit s", "within", title="from command to answer",
                            title_justify="left")
    with tempfile.TemporaryDirectory(prefix="cadence-startup-") as folder:
        for case in cases(Path(folder), data_root):
            samples = measure(case)
            rows.append(row_of(case, samples))
            print(f"{case.name}: {samples.median:.2f} s", flush=True)
            table.add_row(case.name, *format_seconds(samples), f"{case.limit_s:g}",
                          "yes" if rows[-1]["within"] else "NO")
    Console(highlight=False).print(table)
    if options.json:
        command = "python -m benchmarks.startup" + (" --data.root=DIR" if data_root else "")
        write_rows(Path(options.json), rows, environment(), command)
    return 0


if __name__ == "__main__":
    run_command(main)
