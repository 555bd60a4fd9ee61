"""From seconds an image to rows: rates, ratios to the peers, what the data cost, how much of the arithmetic is used."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.common.timing import Samples, ratio

# A step trains at about three times the forward pass's arithmetic.
FORWARDS_A_STEP = 3
PEERS = ("a", "b", "c")
KEYS = ("name", "label", "way", "kind", "feed", "step", "device", "precision", "batch", "threads", "workers",
        "images_per_second", "epochs_per_second", "ratio_a", "ratio_b", "ratio_c", "data_cost", "model_tflops",
        "share_of_peak", "peak_tflops", "memory_peak_mib", "first_step_s", "self_check", "timed", "left_out", "failed")


@dataclass(frozen=True)
class Measured:
    """One way of training: its kind ("ours", "a", "b", "c", "step"), seconds an image by round, what else is known.

    facts: further entries of its row; "step" among them says which step alone it is compared with.
    """

    kind: str
    image_s: Samples
    facts: Mapping[str, object] = field(default_factory=dict)


def make_rows(label: str, measured: Mapping[str, Measured], *, images: int, forward_flops: int, peak: Samples,
              shared: Mapping[str, object]) -> list[dict]:
    """A row for each way of training, with every key of KEYS, None where it says nothing.

    images: of an epoch of the training set; forward_flops: for one image; peak: FLOP/s of a matrix product, by round.
    Of several peers of a kind the fastest counts. Ratios and shares are taken round by round.
    """
    fastest = {kind: min((each.image_s for each in measured.values() if each.kind == kind),
                         key=lambda samples: samples.median, default=None) for kind in PEERS}
    alone = {each.facts.get("step"): each.image_s for each in measured.values() if each.kind == "step"}
    rows = []
    for way, each in measured.items():
        rates = per_second(each.image_s)
        flops = Samples(tuple(FORWARDS_A_STEP * forward_flops * rate for rate in rates.values))
        found = {"way": way, "kind": each.kind, "images_per_second": rates.row(1),
                 "epochs_per_second": Samples(tuple(rate / images for rate in rates.values)).row(5),
                 "model_tflops": scaled(flops).row(4), "share_of_peak": ratio(flops, peak).row(4)}
        if each.kind == "ours":
            found |= {f"ratio_{kind}": ratio(peers_s, each.image_s).row(3) for kind, peers_s in fastest.items()
                      if peers_s}
            step_s = alone[each.facts["step"]]
            found["data_cost"] = Samples(tuple(1 - share for share in ratio(step_s, each.image_s).values)).row(4)
        rows.append(complete(label, {**shared, **each.facts, **found}))
    return rows


def peak_row(label: str, way: str, peak: Samples, facts: Mapping[str, object]) -> dict:
    """The row of the matrix product."""
    return complete(label, {**facts, "way": way, "kind": "peak", "peak_tflops": scaled(peak).row(4)})


def failed_row(label: str, way: str, kind: str, reason: str) -> dict:
    """The row of a way that cannot be timed, such as a step mode that did not pass its check: no figures, but why."""
    return complete(label, {"way": way, "kind": kind, "failed": reason})


def complete(label: str, found: Mapping[str, object]) -> dict:
    """A row with its name and every key, in the order of KEYS."""
    row = dict.fromkeys(KEYS) | {"name": f"{label}, {found['way']}", "label": label}
    unknown = set(found) - set(KEYS)
    if unknown:
        raise ValueError(f"a row has no {', '.join(sorted(unknown))}: add it to KEYS")
    return row | dict(found)


def per_second(seconds: Samples) -> Samples:
    """1 / seconds, round by round."""
    return Samples(tuple(1 / value for value in seconds.values))


def scaled(flops: Samples) -> Samples:
    """FLOP/s -> TFLOP/s."""
    return Samples(tuple(value / 1e12 for value in flops.values))
