"""Runs that are killed at seeded moments and gone on with: do they end with the bits of a run that nobody disturbs?"""

import json
import random
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.drills.child_process import LIMIT_S, Ended, Watch, live
from benchmarks.drills.fork_server import Died, call_apart
from benchmarks.drills.hooks import STEP, tell
from engine.common.errors import EngineError

# Dropout and a policy, so that the state of every generator counts; a checkpoint after each step.
RUN = ["--recipe", "quickstart", "--data.train_count=120", "--data.test_count=100", "--data.resolution=8",
       "--train.batch=20", "--train.epochs=2", "--train.threads=1", "--model.width=4", "--model.depth=2",
       "--model.dropout=0.3", "--eval.batch=100", "--run.report=false", "--checkpoint.every_minutes=1e-9"]
# Of ten kills so many wait for the process inside such a write; the others come at any moment.
AIMED = {"checkpoint": 3, "beton": 2}
LEAST_SHARE = 0.25
TRIAL_LIMIT_S = 120.0
# The first run on a machine compiles what the others find compiled.
CENSUS_LIMIT_S = 600.0
ATTEMPTS = 6


@dataclass(frozen=True)
class Census:
    """The run that nobody disturbs: its weights' hash, its seconds, and the places it passes, in order."""

    weights: str
    seconds: float
    places: tuple[str, ...]

    def moments(self, kind: str) -> list[tuple[str, int]]:
        """(place, which time it is passed) of each passing of a place of this kind."""
        seen: Counter[str] = Counter()
        found = []
        for place in self.places:
            seen[place] += 1
            if place.startswith(kind):
                found.append((place, seen[place]))
        return found


@dataclass(frozen=True)
class Kill:
    """A moment to kill at: the passing that lies at `share` (0..1) of those of this `kind`, or of the run's time."""

    kind: str
    share: float


@dataclass(frozen=True)
class Trial:
    """A run that was killed: where (None where it was not, having ended before), how it went on, its weights' hash."""

    place: str | None
    lives: int
    weights: str | None
    said: str

    @property
    def landed(self) -> str:
        """The kind of place: "step", "checkpoint", "beton" or "elsewhere"."""
        kind = (self.place or "").partition(",")[0]
        return kind if kind in (STEP, *AIMED) else "elsewhere"


def plan(count: int, seed: int) -> list[Kill]:
    """`count` kills, those of AIMED first in each ten."""
    random_ = random.Random(seed)
    kinds = [kind for kind, each in AIMED.items() for _ in range(each)]
    return [Kill(kinds[number % 10] if number % 10 < len(kinds) else "time", random_.random())
            for number in range(count)]


def plain_writer(watch: Watch) -> None:
    """The control: checkpoints are written as most programs do, straight to their name, and read without a check."""
    import torch

    from engine.storage import checkpoint

    tell(watch)

    def write(path, content, *_):
        with open(path, "wb") as file:
            torch.save(content, file)

    checkpoint.serialise, checkpoint.write = (lambda content: content), write
    checkpoint.load = lambda path: torch.load(path, weights_only=True)


def words_of(folder: Path, cache: Path, *more: str) -> list[str]:
    """What follows `python -m engine.train`, the same to begin the run and to go on with it."""
    return [*RUN, f"--data.cache={cache}", f"--run.folder={folder}", "--resume", "auto", *more]


def life(folder: Path, cache: Path, watch: Watch, prepare: Callable, kill_after_s: float | None = None,
         limit_s: float = LIMIT_S) -> Ended:
    """One life of the run in `folder`."""
    from engine import train

    return live(train.main, words_of(folder, cache), folder.with_suffix(".log"), watch, prepare, kill_after_s, limit_s)


def weights_of(folder: Path) -> str | None:
    """The hash in a run's summary, None where it has none."""
    summary = folder / "summary.json"
    return json.loads(summary.read_text())["weights_sha256"] if summary.exists() else None


def take_census(place: Path, prepare: Callable = tell) -> Census:
    """Let the run go through; its betons are written to place/cache. Raises EngineError where it does not end well.

    It goes through twice, for what the first one compiles would be in its seconds, by which kills are timed.
    """
    place.mkdir(parents=True, exist_ok=True)
    trail = place / "trail.txt"
    life(place / "first", place / "first_cache", Watch(), prepare, limit_s=CENSUS_LIMIT_S)
    ended = life(place / "undisturbed", place / "cache", Watch(trail=trail), prepare, limit_s=CENSUS_LIMIT_S)
    if ended.status:
        raise EngineError(f"the undisturbed run ended with status {ended.status}: {last_line(ended.said)}")
    return Census(weights_of(place / "undisturbed"), ended.seconds, tuple(trail.read_text().splitlines()))


def last_line(said: str) -> str:
    """The last line of an output."""
    return (said.strip().splitlines() or ["without a word"])[-1]


def try_kill(census: Census, kill: Kill, place: Path, shared_cache: Path, prepare: Callable = tell) -> Trial:
    """Begin a run in `place`, kill it once, go on until it ends (or ends in an error)."""
    place.mkdir(parents=True)
    cache = place / "cache" if kill.kind == "beton" else shared_cache
    folder, watch, after_s = place / "run", Watch(), None
    if kill.kind == "time":
        after_s = kill.share * census.seconds
    else:
        moments = census.moments(kill.kind)
        if not moments:
            return Trial(None, 0, None, f"the run passes no {kill.kind}")
        watch = Watch(*moments[int(kill.share * len(moments))])
    return go_through(folder, cache, life(folder, cache, watch, prepare, after_s), -signal.SIGKILL, prepare)


def try_signal(step: int, place: Path, shared_cache: Path) -> Trial:
    """Begin a run in `place`, send it SIGTERM at its step number `step` (from 1), go on until it ends."""
    place.mkdir(parents=True)
    ended = life(place / "run", shared_cache, Watch(STEP, step, signal.SIGTERM), tell)
    return go_through(place / "run", shared_cache, ended, 128 + signal.SIGTERM, tell)


def go_through(folder: Path, cache: Path, first: Ended, wanted: int, prepare: Callable) -> Trial:
    """Go on with a run whose first life should have ended with the status `wanted`."""
    if first.status == 0:
        return Trial(None, 1, weights_of(folder), "it had ended before")
    if first.status != wanted:
        return Trial(first.place, 1, None, f"status {first.status}: {last_line(first.said)}")
    ended = life(folder, cache, Watch(), prepare)
    weights = weights_of(folder) if ended.status == 0 else None
    return Trial(STEP if wanted > 0 else first.place, 2, weights, last_line(ended.said))


def drill(kills: Sequence[Kill], census: Census, place: Path, shared_cache: Path, workers: int,
          prepare: Callable = tell, on_trial: Callable[[], None] = lambda: None) -> list[Trial]:
    """Try every kill, `workers` at a time; one that came too late comes again, twice as early."""
    def one(number: int) -> Trial:
        kill = kills[number]
        for attempt in range(ATTEMPTS):
            try:
                trial = call_apart(try_kill, census, kill, place / f"{number}-{attempt}", shared_cache, prepare,
                                   limit_s=TRIAL_LIMIT_S)
            except Died as error:
                trial = Trial("the drill itself", 0, None, str(error))
            if trial.place is not None:
                break
            kill = Kill(kill.kind, kill.share / 2)
        on_trial()
        return trial

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, range(len(kills))))


def signals(census: Census, place: Path, shared_cache: Path, workers: int) -> list[Trial]:
    """SIGTERM at every step of the run, each in a run of its own."""
    steps = range(1, len(census.moments(STEP)) + 1)
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda step: call_apart(try_signal, step, place / str(step), shared_cache,
                                                     limit_s=TRIAL_LIMIT_S), steps))


def landings(trials: Sequence[Trial]) -> dict[str, int]:
    """How many kills landed in each kind of place."""
    return dict(Counter(trial.landed for trial in trials if trial.place is not None).most_common())


def lost(trials: Sequence[Trial], census: Census) -> list[Trial]:
    """The runs that did not end with the undisturbed run's weights."""
    return [trial for trial in trials if trial.weights != census.weights]


def too_few(trials: Sequence[Trial]) -> str:
    """Why the kills say too little: some did not land, or too few inside a write. "" where they say enough."""
    landed = landings(trials)
    inside, needed = sum(landed.get(kind, 0) for kind in AIMED), LEAST_SHARE * len(trials)
    if sum(landed.values()) < len(trials):
        return f"only {sum(landed.values())} of {len(trials)} kills came before the run's end"
    if inside < needed:
        return f"only {inside} of {len(trials)} kills landed inside a write, {needed:g} are needed"
    return ""
