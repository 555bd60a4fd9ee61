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

# Of ten kills so many wait for the process inside such a write; the others come at any moment.
AIMED = {"checkpoint": 3, "beton": 2}
LEAST_SHARE = 0.25
TRIAL_LIMIT_S = 120.0
# The first run on a machine compiles what later ones find compiled.
REFERENCE_LIMIT_S = 600.0
ATTEMPTS = 6


@dataclass(frozen=True)
class Reference:
    """The undisturbed run: its weights hash, its seconds, and the failpoints it reaches, in order."""

    weights: str
    seconds: float
    points: tuple[str, ...]

    def moments(self, kind: str) -> list[tuple[str, int]]:
        """(failpoint, how often it has been reached by then) of each time that one of this kind is reached."""
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
    """A killed run: the failpoint it was killed at (None if it had ended before), its processes, its weights hash."""

    point: str | None
    processes: int
    weights: str | None
    output: str

    @property
    def landed(self) -> str:
        """The kind of failpoint: "step", "checkpoint", "beton" or "elsewhere"."""
        kind = (self.point or "").partition(",")[0]
        return kind if kind in (STEP, *AIMED) else "elsewhere"


def plan(count: int, seed: int) -> list[Kill]:
    """`count` kills, those of AIMED first in each ten, at moments drawn from `seed`."""
    generator = random.Random(seed)
    kinds = [kind for kind, each in AIMED.items() for _ in range(each)]
    return [Kill(kinds[number % 10] if number % 10 < len(kinds) else "time", generator.random())
            for number in range(count)]


def plain_writer(failpoints: Failpoints) -> None:
    """The control: checkpoints are written as most programs do, straight to their name, and read without a check."""
    instrument(failpoints)

    def write(path, content, *_):
        with open(path, "wb") as file:
            torch.save(content, file)

    checkpoint.serialise, checkpoint.write = (lambda content: content), write
    checkpoint.load = lambda path: torch.load(path, weights_only=True)


def run_once(folder: Path, cache: Path, prepare: Callable, failpoints: Failpoints | None = None,
             **limits: float | None) -> ProcessResult:
    """Start or resume the run in `folder`, in one process."""
    return train_forked(arguments(folder, cache), folder.with_suffix(".log"), failpoints, prepare, **limits)


def record_reference(place: Path, prepare: Callable = instrument) -> Reference:
    """Run without a kill; the betons are written to place/cache. Raises EngineError if the run fails.

    It runs twice, because kills are timed by its seconds and the first run compiles.
    """
    place.mkdir(parents=True, exist_ok=True)
    trail = place / "trail.txt"
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
    failpoints = after_s = None
    if kill.kind == "time":
        after_s = kill.share * reference.seconds
    else:
        moments = reference.moments(kill.kind)
        if not moments:
            return Trial(None, 0, None, f"the run reaches no {kill.kind}")
        failpoints = Failpoints(*moments[int(kill.share * len(moments))], signal.SIGTERM if kill.sigterm else "wait")
    stopped = run_once(folder, cache, prepare, failpoints, kill_after_s=after_s)
    if stopped.status == 0:
        return Trial(None, 1, weights_of(folder), "it had ended before")
    if stopped.status != (128 + signal.SIGTERM if kill.sigterm else -signal.SIGKILL):
        return Trial(stopped.point, 1, None, f"status {stopped.status}: {last_line(stopped.output)}")
    resumed = run_once(folder, cache, prepare)
    weights = weights_of(folder) if resumed.status == 0 else None
    return Trial(STEP if kill.sigterm else stopped.point, 2, weights, last_line(resumed.output))


def drill(kills: Sequence[Kill], reference: Reference, place: Path, shared_cache: Path, workers: int,
          prepare: Callable = instrument, on_trial: Callable[[], None] = lambda: None) -> list[Trial]:
    """Try every kill, `workers` at a time; one that came too late is repeated, twice as early."""
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
    """How many kills landed at each kind of failpoint."""
    return dict(Counter(trial.landed for trial in trials if trial.point is not None).most_common())


def lost(trials: Sequence[Trial], reference: Reference) -> list[Trial]:
    """The runs that did not end with the undisturbed run's weights."""
    return [trial for trial in trials if trial.weights != reference.weights]


def too_few(trials: Sequence[Trial]) -> str:
    """Why the kills prove too little: some did not land, or too few inside a write. "" if they prove enough."""
    landed = landings(trials)
    inside, needed = sum(landed.get(kind, 0) for kind in AIMED), LEAST_SHARE * len(trials)
    if sum(landed.values()) < len(trials):
        return f"only {sum(landed.values())} of {len(trials)} kills came before the run's end"
    if inside < needed:
        return f"only {inside} of {len(trials)} kills landed inside a write, {needed:g} are needed"
    return ""
