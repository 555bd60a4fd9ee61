"""Does anything grow? Trainings that go on for hours: memory, handles and threads, looked at from outside.

    python -m benchmarks.soak [--minutes 120] [--arms A,B] [--json FILE]

Small runs on the embedded shapes, all at once: a long run by each feed, many runs in one process, one run in two
processes. Every second each one's processes are added up. The first fifth of the time is for warming up; of the rest
the last third is compared with the first. Ends with status 1 where something grew, or an arm ended by itself.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.common.results import shareable, write_rows
from engine.cli.parser import Parser, run_command

SMALL = ["-m", "engine.train", "--recipe", "quickstart", "--data.train_count=2000", "--data.test_count=500",
         "--data.resolution=16", "--model.width=8", "--train.threads=1", "--run.report=false", "--log.to=tensorboard",
         "--checkpoint.every_minutes=0.01"]
LONG = [*SMALL, "--train.epochs=100000", "--augment.policy=flip(), crop(pad_px=2), cutout(hole_px=4)"]
# What follows the interpreter, by arm.
ARMS = {
    "one stream run": [*LONG, "--data.feed=stream", "--average.ema=0.99"],
    "one resident run": [*LONG, "--data.feed=resident", "--train.on_nan=skip"],
    "many runs in one process": [*SMALL, "--train.epochs=20", "--train.repeats=1000"],
    "one run in two processes": ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0",
                                      *LONG],
}
EVERY_S = 1.0
WARM_UP_SHARE = 0.2
LEAVE_S = 20.0
# Memory may grow by this share or so much, whichever is more: a run's history, and what an allocator keeps.
GROWTH_SHARE, GROWTH_MIB = 0.02, 8.0


@dataclass(frozen=True)
class Sample:
    """All processes of an arm together, `at_s` seconds after its start: resident memory, open handles, threads."""

    at_s: float
    memory_mib: float
    handles: int
    threads: int


def main(argv: list[str] | None = None) -> int:
    """The door: start the arms, watch them, end them, tell."""
    parser = Parser("benchmarks.soak", __doc__, settings=False)
    parser.add_argument("--minutes", type=float, default=120.0, metavar="M", help="how long (120)")
    parser.add_argument("--arms", metavar="A,B", help="which arms, by the beginnings of their names (all)")
    parser.add_argument("--json", metavar="FILE", help="rows go here")
    options, _ = parser.read(argv)
    if not 0.1 <= options.minutes <= 10_000:
        parser.error(f"--minutes={options.minutes:g} must be 0.1 to 10,000")
    wanted = [part.strip() for part in (options.arms or "").split(",")]
    if not all(any(name.startswith(part) for name in ARMS) for part in wanted):
        parser.error(f"--arms={options.arms} must be the beginnings of one or more of: {'; '.join(ARMS)}")
    arms = {name: words for name, words in ARMS.items() if name.startswith(tuple(wanted))}
    with tempfile.TemporaryDirectory(prefix="cadence-soak-", ignore_cleanup_errors=True) as folder:
        rows = soak(arms, Path(folder), options.minutes * 60)
    show(rows)
    if options.json:
        from benchmarks.common.timing import environment

        words = ["python", "-m", "benchmarks.soak", *(sys.argv[1:] if argv is None else argv)]
        write_rows(Path(options.json), rows, environment(), shareable(words), merge=True)
    return 0 if all(row["flat"] for row in rows) else 1


def soak(arms: Mapping[str, Sequence[str]], place: Path, seconds: float) -> list[dict]:
    """Run the arms for so long, in folders below `place`; a row each."""
    processes, logs, samples = {}, {}, {name: [] for name in arms}
    try:
        for number, (name, words) in enumerate(arms.items()):
            logs[name], run = place / f"arm_{number}.log", place / f"arm_{number}"
            command = [sys.executable, *words, f"--data.cache={place / f'cache_{number}'}", f"--run.folder={run}"]
            with open(logs[name], "wb") as log:
                processes[name] = psutil.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            time.sleep(EVERY_S)
            for name, process in processes.items():
                if process.poll() is None:
                    samples[name].append(sample(process, time.monotonic() - began))
        ended = {name: process.poll() for name, process in processes.items()}
    finally:
        for process in processes.values():
            leave(process)
    rows = []
    for name in arms:
        row = {"name": f"soak: {name}", "minutes": round(seconds / 60, 1), **judge(samples[name])}
        if ended[name] is not None:
            said = logs[name].read_text(errors="replace").strip().splitlines() or ["nothing"]
            row |= {"flat": False, "why": f"it ended by itself with status {ended[name]}: {said[-1]}"}
        rows.append(row)
    return rows


def sample(process: psutil.Process, at_s: float) -> Sample:
    """A process with all below it; one that ends meanwhile counts for nothing."""
    memory = handles = threads = 0
    try:
        all_ = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        all_ = []
    for each in all_:
        try:
            with each.oneshot():
                found = each.memory_info().rss, each.num_fds(), each.num_threads()
        except psutil.Error:
            continue
        memory, handles, threads = memory + found[0], handles + found[1], threads + found[2]
    return Sample(at_s, memory / 2**20, handles, threads)


def leave(process: psutil.Popen) -> None:
    """Ask a process and all below it to end, and see to it."""
    all_ = [*process.children(recursive=True), process] if process.poll() is None else []
    if all_:
        process.terminate()
    _, alive = psutil.wait_procs(all_, timeout=LEAVE_S)
    for each in alive:
        each.kill()
    process.wait()


def judge(samples: Sequence[Sample]) -> dict:
    """{flat, why, and of each measure: first, last (medians of the thirds), most}; `why` is "" where all is flat."""
    kept = [each for each in samples if each.at_s >= WARM_UP_SHARE * samples[-1].at_s] if samples else []
    if len(kept) < 6:
        return {"flat": False, "why": f"{len(kept)} samples are too few to judge by", "samples": len(kept)}
    third, grown = len(kept) // 3, []
    row: dict = {"samples": len(kept)}
    for measure in ("memory_mib", "handles", "threads"):
        values = [getattr(each, measure) for each in kept]
        first, last = statistics.median(values[:third]), statistics.median(values[-third:])
        allowed = max(GROWTH_MIB, GROWTH_SHARE * first) if measure == "memory_mib" else 0
        if last > first + allowed:
            grown.append(f"{measure} grew from {first:g} to {last:g}")
        row[measure] = {"first": round(first, 2), "last": round(last, 2), "most": round(max(values), 2)}
    return {"flat": not grown, "why": "; ".join(grown), **row}


def show(rows: Sequence[dict]) -> None:
    """The table: what each measure was at first and in the end."""
    from rich.console import Console
    from rich.table import Table

    table = Table("arm", "minutes", "memory MiB", "handles", "threads", "", title_justify="left",
                  title="first third -> last third, medians")
    for row in rows:
        cells = [f"{row[measure]['first']:g} -> {row[measure]['last']:g}" if measure in row else "-"
                 for measure in ("memory_mib", "handles", "threads")]
        table.add_row(row["name"].removeprefix("soak: "), f"{row['minutes']:g}", *cells,
                      "flat" if row["flat"] else row["why"])
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    sys.exit(run_command(main))
