"""Does anything grow? Memory, handles and threads of trainings that run for hours, measured from outside.

    python -m benchmarks.soak [--minutes 120] [--arms A,B] [--json FILE]

The arms are small runs on the embedded shapes, all at once: a long run with each feed, many runs in one process, one
run in two processes. Every second the usage of an arm's processes is summed. The first fifth of the time is warm-up; of
the rest, the last third is compared with the first. The status is 1 if something grew or an arm ended by itself.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.common.display import print_table
from benchmarks.common.results import save_rows
from engine.cli.parser import Parser, run_command

SMALL = ["-m", "engine.train", "--recipe", "quickstart", "--data.train_count=2000", "--data.test_count=500",
         "--data.resolution=16", "--model.width=8", "--train.threads=1", "--run.report=false", "--log.to=tensorboard",
         "--checkpoint.every_minutes=0.01"]
LONG = [*SMALL, "--train.epochs=100000", "--augment.policy=flip(), crop(pad_px=2), cutout(hole_px=4)"]
# Arm -> its command, without the interpreter.
ARMS = {
    "one stream run": [*LONG, "--data.feed=stream", "--average.ema=0.99"],
    "one resident run": [*LONG, "--data.feed=resident", "--train.on_nan=skip"],
    "many runs in one process": [*SMALL, "--train.epochs=20", "--train.repeats=1000"],
    "one run in two processes": ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0",
                                 *LONG],
}
EVERY_S = 1.0
WARM_UP_SHARE = 0.2
STOP_LIMIT_S = 20.0
# Memory may grow by the larger of this share and amount: a run's history, and what an allocator keeps.
GROWTH_SHARE, GROWTH_MIB = 0.02, 8.0
MEASURES = ("memory_mib", "handles", "threads")


@dataclass(frozen=True)
class Usage:
    """Resident memory, open handles and threads of an arm's processes, `at_s` seconds after its start."""

    at_s: float
    memory_mib: float
    handles: int
    threads: int


def main(argv: list[str] | None = None) -> int:
    parser = Parser("benchmarks.soak", __doc__, settings=False)
    parser.add_argument("--minutes", type=float, default=120.0, metavar="M", help="how long (120)")
    parser.add_argument("--arms", metavar="A,B", help="arms to run, by the start of their names (all)")
    parser.add_argument("--json", metavar="FILE", help="rows go here")
    options, _ = parser.read(argv)
    if not 0.1 <= options.minutes <= 10_000:
        parser.error(f"--minutes={options.minutes:g} must be 0.1 to 10,000")
    wanted = [part.strip() for part in (options.arms or "").split(",")]
    if not all(any(name.startswith(part) for name in ARMS) for part in wanted):
        parser.error(f"--arms={options.arms} must list starts of these names: {'; '.join(ARMS)}")
    arms = {name: words for name, words in ARMS.items() if name.startswith(tuple(wanted))}
    with tempfile.TemporaryDirectory(prefix="cadence-soak-", ignore_cleanup_errors=True) as folder:
        rows = soak(arms, Path(folder), options.minutes * 60)
    show(rows)
    save_rows(options.json, rows, "benchmarks.soak", argv)
    return 0 if all(row["flat"] for row in rows) else 1


def soak(arms: Mapping[str, Sequence[str]], folder: Path, seconds: float) -> list[dict]:
    """A row for each arm, run for `seconds` in a folder below `folder`."""
    processes, logs, usages = {}, {}, {name: [] for name in arms}
    try:
        for number, (name, words) in enumerate(arms.items()):
            logs[name], run = folder / f"arm_{number}.log", folder / f"arm_{number}"
            command = [sys.executable, *words, f"--data.cache={folder / f'cache_{number}'}", f"--run.folder={run}"]
            with open(logs[name], "wb") as log:
                processes[name] = psutil.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            time.sleep(EVERY_S)
            for name, process in processes.items():
                if process.poll() is None:
                    usages[name].append(measure(process, time.monotonic() - start))
        ended = {name: process.poll() for name, process in processes.items()}
    finally:
        for process in processes.values():
            stop(process)
    rows = []
    for name in arms:
        row = {"name": f"soak: {name}", "minutes": round(seconds / 60, 1), **judge(usages[name])}
        if ended[name] is not None:
            output = logs[name].read_text(errors="replace").strip().splitlines() or ["nothing"]
            row |= {"flat": False, "why": f"it ended by itself with status {ended[name]}: {output[-1]}"}
        rows.append(row)
    return rows


def measure(process: psutil.Process, at_s: float) -> Usage:
    """The usage of a process and its descendants; one that ends meanwhile counts nothing."""
    memory_bytes = handles = threads = 0
    with suppress(psutil.NoSuchProcess):
        for each in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error), each.oneshot():
                own = each.memory_info().rss, each.num_fds(), each.num_threads()
                memory_bytes, handles, threads = memory_bytes + own[0], handles + own[1], threads + own[2]
    return Usage(at_s, memory_bytes / 2**20, handles, threads)


def stop(process: psutil.Popen) -> None:
    """Terminate a process; kill what is left of it and its descendants after STOP_LIMIT_S."""
    family = [*process.children(recursive=True), process] if process.poll() is None else []
    if family:
        process.terminate()
    _, alive = psutil.wait_procs(family, timeout=STOP_LIMIT_S)
    for each in alive:
        each.kill()
    process.wait()


def judge(usages: Sequence[Usage]) -> dict:
    """{flat, why ("" if flat), samples, and for each measure {first, last (medians of the thirds), most}}."""
    kept = [each for each in usages if each.at_s >= WARM_UP_SHARE * usages[-1].at_s]
    if len(kept) < 6:
        return {"flat": False, "why": f"{len(kept)} samples are too few to judge by", "samples": len(kept)}
    third, grown = len(kept) // 3, []
    row: dict = {"samples": len(kept)}
    for name in MEASURES:
        values = [getattr(each, name) for each in kept]
        first, last = statistics.median(values[:third]), statistics.median(values[-third:])
        allowed = max(GROWTH_MIB, GROWTH_SHARE * first) if name == "memory_mib" else 0
        if last > first + allowed:
            grown.append(f"{name} grew from {first:g} to {last:g}")
        row[name] = {"first": round(first, 2), "last": round(last, 2), "most": round(max(values), 2)}
    return {"flat": not grown, "why": "; ".join(grown), **row}


def show(rows: Sequence[dict]) -> None:
    lines = [(row["name"].removeprefix("soak: "), f"{row['minutes']:g}",
              *(f"{row[each]['first']:g} -> {row[each]['last']:g}" if each in row else "-" for each in MEASURES),
              "flat" if row["flat"] else row["why"]) for row in rows]
    print_table(("arm", "minutes", "memory MiB", "handles", "threads", ""), lines,
                title="first third -> last third, medians")


if __name__ == "__main__":
    sys.exit(run_command(main))
