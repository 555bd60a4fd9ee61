"""The small training run that the drills kill, damage and resume."""

import json
import signal
from pathlib import Path

from benchmarks.drills.hooks import STEP, instrument
from benchmarks.drills.processes import Failpoints, ProcessResult, run_forked
from engine import train

# Dropout and a policy, so that the state of every generator counts; 12 steps.
RUN = ["--recipe", "quickstart", "--data.train_count=120", "--data.test_count=100", "--data.resolution=8",
       "--train.batch=20", "--train.epochs=2", "--train.threads=1", "--model.width=4", "--model.depth=2",
       "--model.dropout=0.3", "--eval.batch=100", "--run.report=false"]
STOPPED_AT = 8


def arguments(folder: Path, cache: Path, *more: str, every_minutes: float = 1e-9) -> list[str]:
    """The arguments of `engine.train` that start or resume the run, by default with a checkpoint after each step."""
    return [*RUN, f"--data.cache={cache}", f"--run.folder={folder}", f"--checkpoint.every_minutes={every_minutes}",
            "--resume", "auto", *more]


def train_forked(words: list[str], log: Path, *how, **options) -> ProcessResult:
    """`engine.train WORDS` in a forked process; for further arguments see run_forked."""
    return run_forked(train.main, words, log, *how, **options)


def start_or_resume(place: Path, name: str, *more: str, **options) -> ProcessResult:
    """The run in place/name, with the betons in place/cache."""
    return train_forked(arguments(place / name, place / "cache", *more), place / f"{name}.log", **options)


def resume(place: Path, name: str, *more: str, **options) -> ProcessResult:
    return train_forked(["--resume", str(place / name), *more], place / f"{name}.log", **options)


def weights_of(folder: Path) -> str | None:
    """The weights hash in a run's summary, None without a summary."""
    summary = folder / "summary.json"
    return json.loads(summary.read_text())["weights_sha256"] if summary.exists() else None


def undisturbed_weights(place: Path) -> str | None:
    start_or_resume(place, "undisturbed")
    return weights_of(place / "undisturbed")


def interrupted(place: Path, name: str = "run", *more: str) -> Path:
    """The last checkpoint of a run in place/name that SIGTERM stopped; the previous one lies beside it."""
    start_or_resume(place, name, *more, failpoints=Failpoints(STEP, STOPPED_AT, signal.SIGTERM), prepare=instrument)
    return place / name / "checkpoints" / "last.pt"


def last_line(output: str) -> str:
    return (output.strip().splitlines() or ["no output"])[-1]
