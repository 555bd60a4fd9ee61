"""Images a second of a run's feed, transfer and step, each alone, and of all together, measured in turns."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from engine.diagnostics.advice import Rates
from engine.training.step import TrainStep
from loaders.feeds.build import DeviceFeed, Feed
from loaders.feeds.resident import Resident
from loaders.feeds.stream import Batch, Stream

Transfer = Callable[[Batch], object]
Wait = Callable[[], None]

# Each part's best round counts: what else runs on the machine can only slow one.
ROUNDS = 3
HELD_BATCHES = 4
ISSUED_STEPS = 10


class Stepper:
    """Takes a step through epoch 0 again and again; each time starts the stage's schedule anew."""

    def __init__(self, step: TrainStep):
        self.step, self.number = step, 0
        step.updates = 0

    def __call__(self, batch: Batch) -> int:
        """Train on a batch that is on the device; returns its images."""
        self.step(batch.images_bhwc, batch.labels, 0, self.number)
        self.number += 1
        if self.number == self.step.steps_per_epoch:
            self.number = self.step.updates = 0
        return len(batch.labels)


def hold_and_warm_up(feed: Feed, step: TrainStep, wait: Wait) -> list[Batch]:
    """Some whole batches, on the device; the step has compiled, captured and tuned for them and an epoch's last."""
    with feed.epoch(0) as batches:
        held = list(itertools.islice(batches, min(HELD_BATCHES, max(1, len(feed) - 1))))
    with feed.epoch(0, start=len(feed) - 1) as batches:
        last = next(batches)
    stepper = Stepper(step)
    for batch in (held[0], held[0], last):
        stepper(batch)
    wait()
    return held


def measure_rates(feed: Feed, step: TrainStep, held: list[Batch], seconds: float, transfer: Transfer | None,
                  wait: Wait) -> Rates:
    """Each part for about `seconds`; `held` are batches on the device, `transfer` sends one there (None: there is no
    transfer)."""
    source = feed.stream if isinstance(feed, DeviceFeed) else feed
    parts = {"feed": lambda: feed_alone(source, seconds / ROUNDS, wait),
             "step": lambda: step_alone(step, held, seconds / ROUNDS, wait),
             "together": lambda: together(feed, step, seconds / ROUNDS, wait)}
    if transfer is not None:
        on_host = Batch(*(tensor.cpu() for tensor in held[0]))
        parts["transfer"] = lambda: transfer_alone(transfer, on_host, seconds / ROUNDS, wait)
    rounds, order = {name: [] for name in parts}, list(parts)
    for _ in range(ROUNDS):
        for name in order:
            rounds[name].append(parts[name]())
        order.reverse()
    images_s, waited = max(rounds["together"])
    return Rates(max(rounds["feed"]), max(rounds["transfer"]) if transfer else None, max(rounds["step"]), images_s,
                 waited)


def timed(call: Callable[[], int], seconds: float, wait: Wait) -> tuple[float, float]:
    """(images a second, seconds) of calls that each return the images they dealt with, at least one of them."""
    wait()
    began, images, passed_s = time.perf_counter(), 0, 0.0
    while not images or passed_s < seconds:
        images += call()
        passed_s = time.perf_counter() - began
    wait()
    passed_s = time.perf_counter() - began
    return images / passed_s, passed_s


def endless(feed: Stream | Feed) -> Iterator[Batch]:
    """The batches of one epoch after another; an epoch's start costs what it costs in training."""
    for epoch in itertools.count():
        with feed.epoch(epoch) as batches:
            yield from batches


def feed_alone(source: Stream | Resident, seconds: float, wait: Wait) -> float:
    """Batches made and thrown away."""
    with closing(endless(source)) as batches:
        next(batches)
        return timed(lambda: len(next(batches).labels), seconds, wait)[0]


def transfer_alone(transfer: Transfer, on_host: Batch, seconds: float, wait: Wait) -> float:
    """One batch of the host, sent to the device again and again."""

    def send() -> int:
        transfer(on_host)
        return len(on_host.labels)

    send()
    return timed(send, seconds, wait)[0]


def step_alone(step: TrainStep, held: list[Batch], seconds: float, wait: Wait) -> float:
    """Steps on batches that lie on the device."""
    stepper, batches = Stepper(step), itertools.cycle(held)
    return timed(lambda: stepper(next(batches)), seconds, wait)[0]


def together(feed: Feed, step: TrainStep, seconds: float, wait: Wait) -> tuple[float, float]:
    """Training as the loop does it: (images a second, share of the time that it waited for data)."""
    stepper, waited_s = Stepper(step), 0.0

    def one() -> int:
        nonlocal waited_s
        asked = time.perf_counter()
        batch = next(batches)
        waited_s += time.perf_counter() - asked
        return stepper(batch)

    with closing(endless(feed)) as batches:
        one()
        waited_s = 0.0
        images_s, passed_s = timed(one, seconds, wait)
    return images_s, waited_s / passed_s


def issue_seconds(step: TrainStep, batch: Batch, wait: Wait) -> float:
    """The host's seconds to issue one step to a device that has nothing else to do: the median of some."""
    stepper, took = Stepper(step), []
    for _ in range(ISSUED_STEPS):
        wait()
        began = time.perf_counter()
        stepper(batch)
        took.append(time.perf_counter() - began)
    wait()
    return statistics.median(took)
