"""Images per second of a run's feed, transfer and step, each alone and all together, measured in turns."""

import itertools
import statistics
import time
from collections.abc import Callable, Generator
from contextlib import closing

from engine.diagnostics.advice import Rates
from engine.training.step import TrainStep
from loaders.feeds.build import Feed
from loaders.feeds.stream import Batch, Stream

Transfer = Callable[[Batch], object]
Wait = Callable[[], None]

# Each part's best round counts, as other load on the machine can only slow one.
ROUNDS = 3
HELD_BATCHES = 4
ISSUED_STEPS = 10


def stepper(step: TrainStep) -> Callable[[Batch], None]:
    """A function that trains on a batch on the device, repeating epoch 0 and its schedule."""
    numbers = itertools.cycle(range(step.steps_per_epoch))

    def train(batch: Batch) -> None:
        if (number := next(numbers)) == 0:
            step.updates = 0
        step(batch.images_bhwc, batch.labels, 0, number)

    return train


def hold_and_warm_up(feed: Feed, step: TrainStep, wait: Wait, open_epoch: Callable | None = None) -> list[Batch]:
    """Some full batches on the device, after the step compiled, captured and tuned for them and for an epoch's last.

    open_epoch: opens the feed as the training loop does, by default `feed.epoch`.
    """
    with feed.epoch(0) as batches:
        held = list(itertools.islice(batches, min(HELD_BATCHES, max(1, len(feed) - 1))))
    with feed.epoch(0, start=len(feed) - 1) as batches:
        last = next(batches)
    train = stepper(step)
    for batch in (held[0], held[0], last):
        train(batch)
    for start in {0, len(feed) - 1} if open_epoch not in (None, feed.epoch) else ():
        with open_epoch(0, start=start) as batches:
            train(next(batches))
    wait()
    return held


def measure_rates(feed: Feed, step: TrainStep, held: list[Batch], seconds: float, transfer: Transfer | None,
                  wait: Wait, open_epoch: Callable | None = None) -> Rates:
    """Measure each part for about `seconds`. `held`: batches on the device; `transfer` copies a batch there, None where
    nothing is copied. open_epoch: as in `hold_and_warm_up`."""
    host_epochs = feed.host_epoch if isinstance(feed, Stream) else feed.epoch
    # From a GPU this gives pinned memory, as the stream feed has.
    on_host = Batch(*(tensor.to("cpu", non_blocking=True) for tensor in held[0]))
    parts = {"feed": lambda: (endless(host_epochs), lambda batch: None),
             "step": lambda: ((batch for batch in itertools.cycle(held)), stepper(step)),
             "together": lambda: (endless(open_epoch or feed.epoch), stepper(step)),
             "transfer": lambda: ((on_host for _ in itertools.count()), transfer)}
    names = [name for name in parts if name != "transfer" or transfer]
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name in names:
            rounds[name].append(timed(*parts[name](), seconds / ROUNDS, wait))
        names.reverse()
    best = {name: max(results) for name, results in rounds.items()}
    return Rates(best["feed"][0], best["transfer"][0] if transfer else None, best["step"][0], *best["together"])


def measure_together(feed: Feed, step: TrainStep, seconds: float, wait: Wait) -> float:
    """Images per second of feed and step together, in about `seconds`; after `hold_and_warm_up`."""
    return max(timed(endless(feed.epoch), stepper(step), seconds / ROUNDS, wait)[0] for _ in range(ROUNDS))


def endless(open_epoch: Callable) -> Generator[Batch, None, None]:
    """The batches of one epoch after another, with the cost of starting an epoch."""
    for epoch in itertools.count():
        with open_epoch(epoch) as batches:
            yield from batches


def timed(batches: Generator[Batch, None, None], use: Callable[[Batch], object], seconds: float,
          wait: Wait) -> tuple[float, float]:
    """(images per second, share of the time spent waiting for a batch) over about `seconds` and at least one batch,
    after a warm-up batch. Closes the generator."""
    with closing(batches):
        use(next(batches))
        wait()
        images, waited_s, passed_s, began = 0, 0.0, 0.0, time.perf_counter()
        while not images or passed_s < seconds:
            asked = time.perf_counter()
            batch = next(batches)
            waited_s += time.perf_counter() - asked
            use(batch)
            images += len(batch.labels)
            passed_s = time.perf_counter() - began
        wait()
        passed_s = time.perf_counter() - began
    return images / passed_s, waited_s / passed_s


def issue_seconds(step: TrainStep, batch: Batch, wait: Wait) -> float:
    """The host's median time in seconds to issue one step to an idle device."""
    train, took = stepper(step), []
    for _ in range(ISSUED_STEPS):
        wait()
        began = time.perf_counter()
        train(batch)
        took.append(time.perf_counter() - began)
    wait()
    return statistics.median(took)
