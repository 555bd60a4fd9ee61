"""Runs that are killed at seeded moments and resumed: do they end with the weights of an undisturbed run?"""

import random
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.drills.hooks import STEP, instrument
from benchmarks.drills.processes import ChildDied, Failpoints, ProcessResult, run_isolated
from benchmarks.drills.small_run import arguments, last_line, train_forked, weights_of
from engine.common.errors import EngineError
from engine.storage import checkpoint

# Of ten kills, so many hit the process inside such a write; the others come at any moment, mostly far from the last
# checkpoint.
AIMED = {"checkpoint": 3, "beton": 2}
RARELY_MINUTES = 10.0
LEAST_SHARE = 0.25
TRIAL_LIMIT_S = 120.0
# The first run on a machine compiles for all.
REFERENCE_LIMIT_S = 600.0
ATTEMPTS = 6


@dataclass(frozen=True)
class Reference:
    """The undisturbed run: weights hash, seconds, and the failpoints in the order it reaches them."""

    weights: str
    seconds: float
    points: tuple[str, ...]

    def moments(self, kind: str) -> list[tuple[str, int]]:
        """Each moment at which a failpoint of this kind is reached: (failpoint, how often so far)."""
        return [(point, self.points[:number + 1].count(point)) for number, point in enumerate(self.points)
                if point.startswith(kind)]


@dataclass(frozen=True)
class Kill:
    """A moment to stop a run, by SIGKILL or SIGTERM: at `share` (0..1) of the moments of `kind`, or of its time."""

    kind: str
    share: float
    sigterm: bool = False


@dataclass(frozen=True)
class Trial:
    """A killed run: its failpoint then (None if it had ended before), its processes, its weights hash."""

    point: str | None
    processes: int
    weights: str | None
    output: str


def plan(count: int, seed: int) -> list[Kill]:
    """`count` kills at moments drawn from `seed`; in each ten, those of AIMED come first."""
    generator = random.Random(seed)
    kinds = [kind for kind, each in AIMED.items() for _ in range(each)]
    return [Kill(kinds[number % 10] if number % 10 < len(kinds) else "time", generator.random())
            for number in range(count)]


def plain_writer(failpoints: Failpoints) -> None:
    """The control: checkpoints are written straight to their names and read unchecked, as most programs do it."""
    instrument(failpoints)

    def write(path, content, *_):
        with open(path, "wb") as file:
            torch.save(content, file)

    checkpoint.serialise, checkpoint.write = (lambda content: content), write
    checkpoint.load = lambda path: torch.load(path, weights_only=True)


def run_once(folder: Path, cache: Path, prepare: Callable, failpoints: Failpoints | None = None,
             often: bool = True, **limits: float | None) -> ProcessResult:
    """Start or resume the run, with a checkpoint after each step, or only as `engine.train` saves by itself."""
    words = arguments(folder, cache) if often else arguments(folder, cache, every_minutes=RARELY_MINUTES)
    return train_forked(words, folder.with_suffix(".log"), failpoints, prepare, **limits)


def record_reference(place: Path, prepare: Callable = instrument) -> Reference:
    """The run without a kill, with its betons in place/cache; EngineError if it fails."""
    place.mkdir(parents=True, exist_ok=True)
    trail = place / "trail.txt"
    # Twice: kills are timed by its seconds, and the first run compiles.
    run_once(place / "first", place / "first_cache", prepare, limit_s=REFERENCE_LIMIT_S)
    ended = run_once(place / "undisturbed", place / "cache", prepare, Failpoints(trail=trail),
                     limit_s=REFERENCE_LIMIT_S)
    if ended.status:
        raise EngineError(f"the undisturbed run ended with status {ended.status}: {last_line(ended.output)}")
    return Reference(weights_of(place / "undisturbed"), ended.seconds, tuple(trail.read_text().splitlines()))


def try_kill(reference: Reference, kill: Kill, place: Path, shared_cache: Path,
             prepare: Callable = instrument) -> Trial:
    """Start a run in `place`, stop it once, resume it until it ends."""
    place.mkdir(parents=True)
    folder, cache = place / "run", place / "cache" if kill.kind == "beton" else shared_cache
    failpoints, after_s, often = None, None, kill.kind != "time"
    if not often:
        after_s = kill.share * reference.seconds
    else:
        if not (moments := reference.moments(kill.kind)):
            return Trial(None, 0, None, f"the run reaches no {kill.kind}")
        failpoints = Failpoints(*moments[int(kill.share * len(moments))], signal.SIGTERM if kill.sigterm else "wait")
    stopped = run_once(folder, cache, prepare, failpoints, often, kill_after_s=after_s)
    if stopped.status == 0:
        return Trial(None, 1, weights_of(folder), "it had ended before")
    if stopped.status != (128 + signal.SIGTERM if kill.sigterm else -signal.SIGKILL):
        return Trial(stopped.point, 1, None, f"status {stopped.status}: {last_line(stopped.output)}")
    resumed = run_once(folder, cache, prepare, often=often)
    weights = weights_of(folder) if resumed.status == 0 else None
    return Trial(STEP if kill.sigterm else stopped.point, 2, weights, last_line(resumed.output))


def drill(kills: Sequence[Kill], reference: Reference, place: Path, shared_cache: Path, workers: int,
          prepare: Callable = instrument, on_trial: Callable[[], None] = lambda: None) -> list[Trial]:
    """Try every kill, `workers` at a time; one that comes too late is repeated at half its share."""
    def one(number: int) -> Trial:
        kill = kills[number]
        for attempt in range(ATTEMPTS):
            try:
                trial = run_isolated(try_kill, reference, kill, place / f"{number}-{attempt}", shared_cache, prepare,
                                     limit_s=TRIAL_LIMIT_S)
            except ChildDied as error:
                trial = Trial("the drill itself", 0, None, str(error))
            if trial.point is not None:
                break
            kill = Kill(kill.kind, kill.share / 2)
        on_trial()
        return trial

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, range(len(kills))))


def signals(reference: Reference) -> list[Kill]:
    """SIGTERM at every step of the run."""
    steps = len(reference.moments(STEP))
    return [Kill(STEP, (step + 0.5) / steps, sigterm=True) for step in range(steps)]


def landings(trials: Sequence[Trial]) -> dict[str, int]:
    """How many kills landed in a "step", "checkpoint" or "beton", or "elsewhere"."""
    kinds = [trial.point.partition(",")[0] for trial in trials if trial.point is not None]
    return dict(Counter(kind if kind in (STEP, *AIMED) else "elsewhere" for kind in kinds).most_common())


def lost(trials: Sequence[Trial], reference: Reference) -> list[Trial]:
    return [trial for trial in trials if trial.weights != reference.weights]


def too_few(trials: Sequence[Trial]) -> str:
    """Why the kills prove too little, "" if they prove enough."""
    landed = landings(trials)
    inside, needed = sum(landed.get(kind, 0) for kind in AIMED), LEAST_SHARE * len(trials)
    if sum(landed.values()) < len(trials):
        return f"only {sum(landed.values())} of {len(trials)} kills came before the run's end"
    if inside < needed:
        return f"only {inside} of {len(trials)} kills landed inside a write, {needed:g} are needed"
    return ""
