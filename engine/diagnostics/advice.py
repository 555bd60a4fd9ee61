"""Judge measured rates: which part bounds a run, and which settings to change. Pure functions without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# The part that is slowest alone bounds the run if all together reach this share of its rate.
NEAR = 0.75
# A smaller share of time waiting for data is only the hand-over of batches.
NO_WAIT = 0.03
# If all together are this many times faster than a part alone, something else slowed that part.
DISTURBED = 1.15
# Gains below this factor are not worth advice.
WORTH = 1.05
# A precision is advised if its matrix products are this many times faster.
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
    """Images per second of each part alone and of all together. transfer: None if no batch is copied to a device;
    waited: the share of the time together, 0..1, that was spent waiting for data."""

    feed: float
    transfer: float | None
    step: float
    together: float
    waited: float

    @property
    def parts(self) -> dict[str, float]:
        """Part -> rate, in the order in which a batch passes through them."""
        parts = {"feed": self.feed, "transfer": self.transfer, "step": self.step}
        return {name: rate for name, rate in parts.items() if rate is not None}

    def without(self, part: str) -> float:
        """The highest rate if `part` cost nothing: that of the slowest other part."""
        return min(rate for name, rate in self.parts.items() if name != part)


@dataclass(frozen=True)
class RunFacts:
    """The facts that the advice depends on.

    device: "cpu" or "cuda"; feed: "stream" or "resident"; resident_fits: whether the GPU could hold the data but does
    not yet. cores: usable by this process; workers: the loader's threads; threads: torch's. samples: training images
    per epoch; mode: the step's. limit: a key of LIMITS; reached: the share of the roofline that the step attains.
    ceilings: precision -> images/s if the step were matrix products at the measured rate, also for the run's precision.
    operations: the policy's. gains: operation -> how many times faster augmenting is without it; empty if not measured.
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
    operations: tuple[str, ...] = ()
    gains: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Advice:
    """A setting to try, in words; why; a bound of the rate that the run would reach; the setting as path -> text."""

    setting: str
    why: str
    at_most_images_s: float
    changes: Mapping[str, str]


def advise(path: str, value: object, why: str, at_most_images_s: float) -> Advice:
    """Advice to try `path`=`value`."""
    return Advice(f"{path}={value}", why, at_most_images_s, {path: str(value)})


@dataclass(frozen=True)
class Verdict:
    """`bound` is "feed", "transfer", "step" or "shared"; `advice`: what might help, that with the highest bound first.
    """

    bound: str
    sentence: str
    advice: tuple[Advice, ...]


def bound_of(rates: Rates) -> str:
    """The part that is slowest alone, if all together come near its rate or if it is the step and hardly waits for
    data; else "shared": the parts slow each other."""
    slowest = min(rates.parts, key=rates.parts.get)
    if slowest == "step" and rates.waited < NO_WAIT:
        return slowest
    return slowest if rates.together >= NEAR * rates.parts[slowest] else "shared"


def judge(rates: Rates, facts: RunFacts) -> Verdict:
    """The verdict: what bounds the run, in words, and the settings that might help, as far as their bounds tell."""
    bound = bound_of(rates)
    advisers = {"feed": feed_advice, "transfer": resident_advice, "step": step_advice}
    parts = rates.parts if bound == "shared" else [bound]
    # Two parts may give the same advice.
    advice = {each.setting: each for part in parts for each in advisers[part](rates, facts)}
    worth = [each for each in advice.values() if each.at_most_images_s > WORTH * rates.together]
    worth.sort(key=lambda each: -each.at_most_images_s)
    return Verdict(bound, sentence_of(bound, rates, facts), tuple(worth))


def sentence_of(bound: str, rates: Rates, facts: RunFacts) -> str:
    """The verdict in words, with its figures."""
    parts = list(rates.parts.items())
    alone = ", ".join(f"the {name} {rate_text(rate)}" for name, rate in parts[1:])
    figures = (f"alone the feed makes {rate_text(parts[0][1])} images/s, {alone}; together they make "
               f"{rate_text(rates.together)}")
    waited = f", and {share_text(rates.waited)} of the time is spent waiting for data"
    if bound == "shared":
        what = "the cores" if facts.device == "cpu" else "the GPU" if facts.feed == "resident" else "the host"
        share = rates.together / min(rates.parts.values())
        said = f"The parts share {what} and slow each other: {figures}, {share_text(share)} of the slowest{waited}."
    else:
        said = f"The {bound} bounds the run: {figures}{waited}."
    if bound in ("step", "shared"):
        said = f"{said} {LIMITS[facts.limit].format(share_text(facts.reached))}"
    if rates.together > DISTURBED * min(rates.parts.values()):
        said += (" All together are faster than one part alone, so something else disturbed the measurement: try again "
                 "on a quiet machine, or with more --seconds.")
    return said


def rate_text(images_s: float) -> str:
    """A rate as text, with three digits or more."""
    return f"{images_s:,.0f}" if images_s >= 100 else f"{images_s:.3g}"


def share_text(share: float) -> str:
    """A share as whole percent."""
    return "less than 1%" if 0 < share < 0.01 else f"{share:.0%}"


def feed_advice(rates: Rates, facts: RunFacts) -> list[Advice]:
    """More loader threads, a cheaper policy, data on the GPU."""
    others, advice = rates.without("feed"), []
    if facts.feed == "stream" and facts.workers < facts.cores:
        # On a CPU the step takes its share of the same cores.
        core_s = facts.workers / rates.feed + (facts.threads / rates.step if facts.device == "cpu" else 0.0)
        advice.append(advise("data.workers", facts.cores, f"{facts.workers} of {facts.cores} cores make batches",
                             min(others, facts.cores / core_s)))
    if facts.gains:
        slowest, gain = max(facts.gains.items(), key=lambda pair: pair[1])
        if gain > WORTH:
            rest = list(facts.operations)
            rest.remove(slowest)
            advice.append(Advice(f"augment.policy without {slowest}",
                                 f"the operation that costs most: augmenting is {gain:.2f} x as fast without it",
                                 min(others, rates.feed * gain), {"augment.policy": ", ".join(rest) or "none"}))
    return advice + resident_advice(rates, facts)


def resident_advice(rates: Rates, facts: RunFacts) -> list[Advice]:
    """Data on the GPU, without the host's feed and the transfer."""
    why = "the data fit on the GPU, which can augment them itself"
    return [advise("data.feed", "resident", why, rates.step)] if facts.resident_fits else []


def step_advice(rates: Rates, facts: RunFacts) -> list[Advice]:
    """Fewer launches and bytes, faster arithmetic, larger batches, more threads."""
    others, own, on_gpu = rates.without("step"), facts.ceilings[facts.precision], facts.device == "cuda"
    best_mode = "graph" if on_gpu and facts.accumulate == 1 else "compile"
    small = facts.limit in ("launches", "overhead")
    # (whether it applies, setting, value, why, the step's images/s at most).
    table = [
        (facts.mode != best_mode and (on_gpu or facts.limit in ("memory", "overhead")), "train.step", best_mode,
         "the step's launches are replayed as one" if best_mode == "graph" else "operations are fused", own),
        (not facts.channels_last, "train.channels_last", "true", "convolutions are faster in that layout", own),
        (small and 2 * facts.batch <= facts.samples, "train.batch", 2 * facts.batch,
         "more images per launch; the result changes, and rates should follow the batch", own),
        *((not small and ceiling > FASTER_ARITHMETIC * own, "train.precision", name,
           f"matrix products measure {ceiling / own:.1f} x as fast in it", ceiling)
          for name, ceiling in facts.ceilings.items()),
        (not on_gpu and facts.threads < facts.cores, "train.threads", facts.cores,
         f"{facts.threads} of {facts.cores} cores compute", rates.step * facts.cores / facts.threads)]
    return [advise(path, value, why, min(others, at_most)) for applies, path, value, why, at_most in table if applies]
