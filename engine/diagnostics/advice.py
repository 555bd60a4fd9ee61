"""From measured rates to words: which part bounds a run, and which setting to change. Pure, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Together the parts must come this close to the slowest one alone for it to be what bounds the run.
NEAR = 0.75
# Share of the time spent waiting for data that no more than the hand-over of batches explains.
NO_WAIT = 0.03
# A part alone cannot be so much slower than all together, unless something else slowed it.
DISTURBED = 1.15
# What promises less than this, or an operation that costs less, is not worth a line.
WORTH = 1.05
# A precision is advised where its matrix products are so much faster.
FASTER_ARITHMETIC = 1.2

LIMITS = {
    "arithmetic": "Within the step arithmetic is the limit: it reaches {} of the matrix rate measured here.",
    "memory": "Within the step memory is the limit: by the bytes it is estimated to move it reaches {} of what the "
              "measured bandwidth allows.",
    "launches": "Within the step launches are the limit: the host needs about as long to issue a step as it takes.",
    "overhead": "Within the step overhead is the limit: small operations, and what comes before and between the "
                "products, leave it {} of what arithmetic and memory allow.",
}


@dataclass(frozen=True)
class Rates:
    """Images a second of each part alone and of all together.

    transfer: None where no batch is copied to a device. waited: the share of the time together that went to waiting
    for data, 0..1.
    """

    feed: float
    transfer: float | None
    step: float
    together: float
    waited: float

    @property
    def parts(self) -> dict[str, float]:
        """The parts there are, in the order in which a batch goes through them."""
        parts = {"feed": self.feed, "transfer": self.transfer, "step": self.step}
        return {name: rate for name, rate in parts.items() if rate is not None}

    def without(self, part: str) -> float:
        """What the run could make at most if `part` cost nothing: the slowest of the others."""
        return min(rate for name, rate in self.parts.items() if name != part)


@dataclass(frozen=True)
class Facts:
    """What a run is made of, as far as advice depends on it.

    device: "cpu" or "cuda"; feed: "stream" or "resident"; resident_fits: whether the GPU could hold the data (and does
    not yet). cores: usable by this process; workers: the loader's threads; threads: torch's. samples: training images
    an epoch; mode: of the step. limit: a key of LIMITS, and `reached` the share of the roofline that the step attains.
    ceilings: precision -> images/s if the step were matrix products at the measured rate, the run's own precision among
    them. gains: operation of the policy -> how many times faster augmentation is without it; empty where that was not
    measured.
    """

    device: str
    feed: str
    resident_fits: bool
    cores: int
    workers: int
    threads: int
    samples: int
    batch: int
    accumulate: int
    mode: str
    precision: str
    channels_last: bool
    limit: str
    reached: float
    ceilings: Mapping[str, float]
    gains: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Advice:
    """A setting to change, why, and what the run would make at most, in images a second."""

    setting: str
    why: str
    at_most_images_s: float


@dataclass(frozen=True)
class Verdict:
    """`bound` is "feed", "transfer", "step" or "shared"; the advice that promises most comes first."""

    bound: str
    sentence: str
    advice: tuple[Advice, ...]


def bound_of(rates: Rates) -> str:
    """The part that is slowest alone, where all together come near it; else "shared": the parts slow each other.

    Where next to no time is spent waiting for data, it is the step, however slow the machine has become meanwhile.
    """
    slowest = min(rates.parts, key=rates.parts.get)
    if slowest == "step" and rates.waited < NO_WAIT:
        return slowest
    return slowest if rates.together >= NEAR * rates.parts[slowest] else "shared"


def verdict(rates: Rates, facts: Facts) -> Verdict:
    """What bounds the run, in words, and the settings that would help it."""
    bound = bound_of(rates)
    found = {"feed": feed_advice, "transfer": transfer_advice, "step": step_advice}
    makers = [found[bound]] if bound in found else [found[part] for part in rates.parts]
    # What two parts advise stands once.
    advice = {each.setting: each for make in makers for each in make(rates, facts)}
    worth = [each for each in advice.values() if each.at_most_images_s > WORTH * rates.together]
    worth.sort(key=lambda each: -each.at_most_images_s)
    return Verdict(bound, sentence_of(bound, rates, facts), tuple(worth))


def sentence_of(bound: str, rates: Rates, facts: Facts) -> str:
    """The verdict in words, with the figures it rests on."""
    parts = list(rates.parts.items())
    alone = ", ".join(f"the {name} {in_figures(rate)}" for name, rate in parts[1:])
    figures = (f"alone the feed makes {in_figures(parts[0][1])} images/s, {alone}; together they make "
               f"{in_figures(rates.together)}")
    waited = f", and {in_percent(rates.waited)} of the time is spent waiting for data"
    if bound == "shared":
        what = "the cores" if facts.device == "cpu" else "the GPU" if facts.feed == "resident" else "the host"
        share = rates.together / min(rates.parts.values())
        said = f"The parts share {what} and slow each other: {figures}, {in_percent(share)} of the slowest{waited}."
    else:
        said = f"The {bound} bounds the run: {figures}{waited}."
    if bound in ("step", "shared"):
        said = f"{said} {LIMITS[facts.limit].format(in_percent(facts.reached))}"
    if rates.together > DISTURBED * min(rates.parts.values()):
        said += (" Together is faster than a part of it alone, so something else disturbed the measuring: try again on "
                 "a quiet machine, or with more --seconds.")
    return said


def in_figures(images_s: float) -> str:
    """A rate as text: whole, or in three figures where it is small."""
    return f"{images_s:,.0f}" if images_s >= 100 else f"{images_s:.3g}"


def in_percent(share: float) -> str:
    """A share as text."""
    return "less than 1%" if 0 < share < 0.01 else f"{share:.0%}"


def feed_advice(rates: Rates, facts: Facts) -> list[Advice]:
    """More threads, a cheaper policy, no feed on the host."""
    others, advice = rates.without("feed"), []
    if facts.feed == "stream" and facts.workers < facts.cores:
        # On a CPU the step takes its share of the same cores.
        core_s = facts.workers / rates.feed + (facts.threads / rates.step if facts.device == "cpu" else 0.0)
        advice.append(Advice(f"data.workers={facts.cores}", f"{facts.workers} of {facts.cores} cores make batches",
                             min(others, facts.cores / core_s)))
    if facts.gains:
        slowest, gain = max(facts.gains.items(), key=lambda pair: pair[1])
        if gain > WORTH:
            advice.append(Advice(f"augment.policy without {slowest}",
                                 f"the operation that costs most: augmenting is {gain:.2f} x as fast without it",
                                 min(others, rates.feed * gain)))
    return advice + resident_advice(rates, facts)


def transfer_advice(rates: Rates, facts: Facts) -> list[Advice]:
    """No transfer at all, where the device holds the data."""
    return resident_advice(rates, facts)


def resident_advice(rates: Rates, facts: Facts) -> list[Advice]:
    """Data that lies on the device needs neither the host's feed nor a transfer."""
    if not facts.resident_fits:
        return []
    return [Advice("data.feed=resident", "the GPU has room for the data and can augment it itself", rates.step)]


def step_advice(rates: Rates, facts: Facts) -> list[Advice]:
    """Fewer launches and bytes, faster arithmetic, more of it a step, more cores."""
    others, advice, on_gpu = rates.without("step"), [], facts.device == "cuda"
    own = min(others, facts.ceilings[facts.precision])
    best_mode = "graph" if on_gpu and facts.accumulate == 1 else "compile"
    if facts.mode != best_mode and (on_gpu or facts.limit in ("memory", "overhead")):
        why = "the step's launches are replayed as one" if best_mode == "graph" else "operations are fused"
        advice.append(Advice(f"train.step={best_mode}", why, own))
    if not facts.channels_last:
        advice.append(Advice("train.channels_last=true", "convolutions want that layout", own))
    small = facts.limit in ("launches", "overhead")
    if small and 2 * facts.batch <= facts.samples:
        advice.append(Advice(f"train.batch={2 * facts.batch}", "more images a launch; the result changes, and rates "
                                                               "should follow the batch", own))
    if not small:
        faster = [name for name, ceiling in facts.ceilings.items()
                  if ceiling > FASTER_ARITHMETIC * facts.ceilings[facts.precision]]
        advice += [Advice(f"train.precision={name}", "matrix products measure "
                          f"{facts.ceilings[name] / facts.ceilings[facts.precision]:.1f} x as fast in it",
                          min(others, facts.ceilings[name])) for name in faster]
    if not on_gpu and facts.threads < facts.cores:
        advice.append(Advice(f"train.threads={facts.cores}", f"{facts.threads} of {facts.cores} cores compute",
                             min(others, rates.step * facts.cores / facts.threads)))
    return advice
