"""Is a run ever lost? Runs that are killed and gone on with, every fault of a table, and files with seeded mutations.

    python -m benchmarks.faults [--trials 200] [--fuzz 1000] [--parts kills,table,fuzz] [--json FILE]

kills: small CPU runs die by SIGKILL at seeded moments, half of them inside the write of a checkpoint or a beton, go on
until they end, and must have the undisturbed run's weights; so must runs that get SIGTERM at each of their steps. A
control, with checkpoints by a plain torch.save, must lose some, or the drill could not fail. table: damaged, hostile
and impossible things, each refused in one line or survived. fuzz: mutated recipes and files. Ends with status 1 where
anything was lost, or too few kills landed inside a write.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.common.results import shareable, write_rows
from benchmarks.drills import archive_rows, beton_rows, checkpoint_rows, feed_rows, fuzz_files, run_rows
from benchmarks.drills import kills as fault_kills
from benchmarks.drills.fork_server import Died, call_apart
from benchmarks.drills.kills import last_line
from benchmarks.drills.table import Tries, row_of, title, try_row
from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from loaders.feeds.stream import usable_cores

PARTS = ("kills", "table", "fuzz")
TABLE = (*beton_rows.ROWS, *feed_rows.ROWS, *checkpoint_rows.ROWS, *run_rows.ROWS, *archive_rows.ROWS)
FUZZ_LIMIT_S = 900.0


def main(argv: list[str] | None = None) -> int:
    """The door: try, show, write the rows."""
    parser = Parser("benchmarks.faults", __doc__, settings=False)
    parser.add_argument("--trials", type=int, default=200, metavar="N", help="runs that are killed (200)")
    parser.add_argument("--fuzz", type=int, default=1000, metavar="N", help="recipes, and files, to mutate (1000)")
    parser.add_argument("--parts", default=",".join(PARTS), metavar="A,B", help="which parts (all)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="which moments (0)")
    parser.add_argument("--json", metavar="FILE", help="rows go here")
    options, _ = parser.read(argv)
    parts = tuple(dict.fromkeys(options.parts.split(",")))
    if not set(parts) <= set(PARTS):
        parser.error(f"--parts={options.parts} must be one or more of {','.join(PARTS)}")
    for name in ("trials", "fuzz"):
        if getattr(options, name) < 10:
            parser.error(f"--{name}={getattr(options, name)} must be 10 or more")
    with tempfile.TemporaryDirectory(prefix="cadence-faults-", ignore_cleanup_errors=True) as folder:
        place, rows = Path(folder), []
        if "kills" in parts:
            rows += kill_rows(options.trials, options.seed, place / "kills")
        if "table" in parts:
            rows += [row_of(f"fault: {title(row)}", tries) for row, tries in tried(TABLE, place / "table")]
        if "fuzz" in parts:
            rows += fuzz_rows(options.fuzz, place / "fuzz")
    show(rows)
    if options.json:
        from benchmarks.common.timing import environment

        words = ["python", "-m", "benchmarks.faults", *(sys.argv[1:] if argv is None else argv)]
        write_rows(Path(options.json), rows, environment(), shareable(words), merge=True)
    return 1 if any(row["lost"] for row in rows) else 0


def kill_rows(trials: int, seed: int, place: Path) -> list[dict]:
    """The drill, its control, and SIGTERM at every step: a row each."""
    workers, cache = usable_cores(), place / "cache"
    census = undisturbed(place)
    kills = fault_kills.plan(trials, seed)
    told = Told(f"killed of {trials}", trials)
    found = fault_kills.drill(kills, census, place / "drill", cache, workers, on_trial=told)
    drilled = outcome("killed by SIGKILL, gone on with", found, census)
    few = fault_kills.too_few(found)
    if few:
        drilled["lost"], drilled["how_lost"] = drilled["lost"] + 1, [few, *drilled["how_lost"]]

    plain = fault_kills.plain_writer
    ordinary = undisturbed(place / "plain", plain)
    aimed = [kill for kill in kills if kill.kind == "checkpoint"]
    control = outcome("control: the same kills in checkpoint writes by a plain torch.save", fault_kills.drill(
        aimed, ordinary, place / "control", place / "plain" / "cache", workers, plain), census)
    # A drill that finds nothing wrong with such a writer would find nothing wrong with any.
    control["control_lost"], control["lost"] = control["lost"], int(not control["lost"])
    control["how_lost"] = ["no run was lost: the drill cannot fail"] if control["lost"] else []
    stopped = fault_kills.signals(census, place / "signals", cache, workers)
    return [drilled, control, outcome("SIGTERM at every step, gone on with", stopped, census)]


def undisturbed(place: Path, *prepare: Callable) -> fault_kills.Census:
    """The census; EngineError where that run does not end well, for nothing can be compared with it then."""
    try:
        return call_apart(fault_kills.take_census, place, *prepare, limit_s=2 * fault_kills.CENSUS_LIMIT_S)
    except Died as error:
        said = last_line(str(error))
        raise EngineError(f"the run that is to be killed does not end well by itself: {said}") from None


def outcome(name: str, trials: list[fault_kills.Trial], census: fault_kills.Census) -> dict:
    """A row for runs that were stopped."""
    lost = fault_kills.lost(trials, census)
    return {"name": name, "tried": len(trials), "refused": 0, "survived": len(trials) - len(lost), "lost": len(lost),
            "landed": fault_kills.landings(trials), "skipped": "",
            "how_lost": [f"{trial.place}: {trial.said}" for trial in lost[:5]]}


def tried(rows: tuple[Callable, ...], place: Path) -> Iterator[tuple[Callable, Tries]]:
    """Each row of the table with what became of it, as many at a time as there are cores."""
    told = Told(f"faults of {len(rows)}", len(rows))

    def one(row: Callable) -> Tries:
        tries = try_row(row, place / f"{row.__module__.rpartition('.')[2]}-{row.__name__}")
        told()
        return tries

    with ThreadPoolExecutor(usable_cores()) as pool:
        yield from zip(rows, pool.map(one, rows), strict=True)


def fuzz_rows(count: int, place: Path) -> list[dict]:
    """A row for each kind of mutated file."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        found = pool.map(lambda part: try_row(part, place / part.__name__, round(count * fuzz_files.SHARES[part]),
                                              limit_s=FUZZ_LIMIT_S), fuzz_files.PARTS)
        return [row_of(f"fuzz: {title(part)}", tries) for part, tries in zip(fuzz_files.PARTS, found, strict=True)]


class Told:
    """Counts what is done, and says so ten times."""

    def __init__(self, what: str, total: int):
        self.what, self.step, self.done = what, max(1, total // 10), 0

    def __call__(self) -> None:
        self.done += 1
        if self.done % self.step == 0:
            print(f"{self.done} {self.what}", flush=True)


def show(rows: list[dict]) -> None:
    """The table, and what was lost."""
    from rich.console import Console
    from rich.table import Table

    table = Table("fault", "tried", "refused", "survived", "lost", title_justify="left",
                  title="each fault: refused in one line, survived, or lost")
    for column in table.columns[1:]:
        column.justify = "right"
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    for row in rows:
        name = row["name"]
        if row.get("landed"):
            name += f" (landed: {', '.join(f'{count} {kind}' for kind, count in row['landed'].items())})"
        if row["skipped"]:
            name += f" (skipped: {row['skipped']})"
        lost = row.get("control_lost", row["lost"])
        table.add_row(name, *(f"{row[key]:,}" for key in ("tried", "refused", "survived")), str(lost))
    console.print(table)
    for row in rows:
        for how in row["how_lost"]:
            console.print(f"LOST  {row['name']}: {how}", markup=False)


if __name__ == "__main__":
    sys.exit(run_command(main))
