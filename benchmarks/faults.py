"""Is a run ever lost? Runs that are killed and resumed, a table of faults, and files with seeded mutations.

    python -m benchmarks.faults [--trials 200] [--fuzz 1000] [--parts kills,table,fuzz] [--json FILE]

kills: small CPU runs get SIGKILL at seeded moments, half of them while they write a checkpoint or a beton. Resumed to
the end, they must have the undisturbed run's weights; so must runs that get SIGTERM at each step. A control, whose
checkpoints a plain torch.save writes, must lose some, or the drill could not fail. table: damaged, hostile and
impossible inputs, each refused in one line or survived. fuzz: mutated recipes and files. The status is 1 if anything
was lost, or too few kills landed inside a write.
"""

import itertools
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.common.commands import chosen
from benchmarks.common.display import console, print_table
from benchmarks.common.results import save_rows
from benchmarks.drills import archive_rows, beton_rows, checkpoint_rows, feed_rows, fuzz_files, kills, run_rows
from benchmarks.drills.processes import ChildDied, run_isolated
from benchmarks.drills.small_run import last_line
from benchmarks.drills.table import Checks, check_row, row_of, title
from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from loaders.feeds.stream import usable_cores

PARTS = ("kills", "table", "fuzz")
TABLE = (*beton_rows.ROWS, *feed_rows.ROWS, *checkpoint_rows.ROWS, *run_rows.ROWS, *archive_rows.ROWS)
FUZZ_LIMIT_S = 900.0


def main(argv: list[str] | None = None) -> int:
    parser = Parser("benchmarks.faults", __doc__, settings=False)
    parser.add_argument("--trials", type=int, default=200, metavar="N", help="runs to kill (200)")
    parser.add_argument("--fuzz", type=int, default=1000, metavar="N", help="recipes, and files, to mutate (1000)")
    parser.add_argument("--parts", default=",".join(PARTS), metavar="A,B", help="parts to run (all)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the kills' moments (0)")
    parser.add_argument("--json", metavar="FILE", help="rows go here")
    options, _ = parser.read(argv)
    if sys.flags.optimize > 1:
        parser.error("the rows are named by docstrings, which python -OO drops: start it without -OO")
    parts = chosen("--parts", options.parts, PARTS)
    for name in ("trials", "fuzz"):
        if getattr(options, name) < 10:
            parser.error(f"--{name}={getattr(options, name)} must be 10 or more")
    with tempfile.TemporaryDirectory(prefix="cadence-faults-", ignore_cleanup_errors=True) as name:
        run = {"kills": lambda: kill_rows(options.trials, options.seed, Path(name, "kills")),
               "table": lambda: table_rows(Path(name, "table")),
               "fuzz": lambda: fuzz_rows(options.fuzz, Path(name, "fuzz"))}
        rows = [row for part in PARTS if part in parts for row in run[part]()]
    show(rows)
    save_rows(options.json, rows, "benchmarks.faults", argv)
    return 1 if any(row["lost"] for row in rows) else 0


def kill_rows(count: int, seed: int, folder: Path) -> list[dict]:
    """The drill, its control, and SIGTERM at every step: a row each."""
    workers, cache, reference = usable_cores(), folder / "cache", undisturbed(folder)
    planned = kills.plan(count, seed)
    trials = kills.drill(planned, reference, folder / "drill", cache, workers,
                         on_trial=progress(f"killed of {count}", count))
    drilled = outcome("killed by SIGKILL, gone on with", trials, reference)
    if problem := kills.too_few(trials):
        drilled["lost"], drilled["how_lost"] = drilled["lost"] + 1, [problem, *drilled["how_lost"]]

    ordinary = undisturbed(folder / "plain", kills.plain_writer)
    aimed = [kill for kill in planned if kill.kind == "checkpoint"]
    trials = kills.drill(aimed, ordinary, folder / "control", folder / "plain" / "cache", workers, kills.plain_writer)
    control = outcome("control: the same kills in checkpoint writes by a plain torch.save", trials, reference)
    # A drill that finds no fault with such a writer would find none with any.
    control["control_lost"], control["lost"] = control["lost"], int(not control["lost"])
    control["how_lost"] = ["no run was lost: the drill cannot fail"] if control["lost"] else []
    stopped = kills.drill(kills.signals(reference), reference, folder / "signals", cache, workers)
    return [drilled, control, outcome("SIGTERM at every step, gone on with", stopped, reference)]


def undisturbed(folder: Path, *prepare: Callable) -> kills.Reference:
    """The run that the killed ones are compared with; EngineError if it fails."""
    try:
        return run_isolated(kills.record_reference, folder, *prepare, limit_s=2 * kills.REFERENCE_LIMIT_S)
    except ChildDied as error:
        raise EngineError(f"the undisturbed run fails: {last_line(str(error))}") from None


def outcome(name: str, trials: list[kills.Trial], reference: kills.Reference) -> dict:
    lost = kills.lost(trials, reference)
    return {"name": name, "tried": len(trials), "refused": 0, "survived": len(trials) - len(lost), "lost": len(lost),
            "landed": kills.landings(trials), "skipped": "",
            "how_lost": [f"{trial.point}: {trial.output}" for trial in lost[:5]]}


def table_rows(folder: Path) -> list[dict]:
    return checked_rows("fault", TABLE, lambda row: check_row(
        row, folder / f"{row.__module__.rpartition('.')[2]}-{row.__name__}"))


def fuzz_rows(count: int, folder: Path) -> list[dict]:
    return checked_rows("fuzz", fuzz_files.PARTS, lambda part: check_row(
        part, folder / part.__name__, round(count * fuzz_files.SHARES[part]), limit_s=FUZZ_LIMIT_S))


def checked_rows(kind: str, rows: Sequence[Callable], check: Callable[[Callable], Checks]) -> list[dict]:
    """Results rows of `check(row)` for each row, run on all cores."""
    report = progress(f"{kind} rows of {len(rows)}", len(rows))

    def checked(row: Callable) -> dict:
        found = row_of(f"{kind}: {title(row)}", check(row))
        report()
        return found

    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(checked, rows))


def progress(what: str, total: int) -> Callable[[], None]:
    """A function that counts its calls and prints the count about ten times."""
    counts, step = itertools.count(1), max(1, total // 10)

    def report() -> None:
        done = next(counts)
        if done % step == 0:
            print(f"{done} {what}", flush=True)

    return report


def show(rows: list[dict]) -> None:
    lines = []
    for row in rows:
        landed = ", ".join(f"{count} {kind}" for kind, count in row.get("landed", {}).items())
        notes = (f" (landed: {landed})" if landed else "") + (f" (skipped: {row['skipped']})" if row["skipped"] else "")
        lines.append((row["name"] + notes, *(f"{row[key]:,}" for key in ("tried", "refused", "survived")),
                      str(row.get("control_lost", row["lost"]))))
    print_table(("fault", "tried", "refused", "survived", "lost"), lines,
                title="each fault: refused in one line, survived, or lost")
    for row in rows:
        for how in row["how_lost"]:
            console().print(f"LOST  {row['name']}: {how}", markup=False)


if __name__ == "__main__":
    sys.exit(run_command(main))
