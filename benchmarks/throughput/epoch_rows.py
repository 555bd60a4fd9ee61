"""From seconds per image to rows: rates, ratios to the peers, the cost of data, the share of peak FLOP/s."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.common.timing import Timings

# A training step takes about three times the FLOPs of its forward pass.
FORWARDS_PER_STEP = 3
PEERS = ("a", "b", "c")
KEYS = ("name", "label", "way", "kind", "feed", "step", "device", "precision", "batch", "threads", "workers",
        "images_per_second", "epochs_per_second", "ratio_a", "ratio_b", "ratio_c", "data_cost", "model_tflops",
        "share_of_peak", "peak_tflops", "memory_peak_mib", "first_step_s", "self_check", "timed", "left_out", "failed")


@dataclass(frozen=True)
class Measurement:
    """One way of training: its kind (a letter of PEERS, "ours", "ended", "step" or "peak"), seconds per image by round,
    and facts.
    """

    kind: str
    image_s: Timings
    # Further entries of its row; "step" selects the step alone that it is compared with.
    facts: Mapping[str, object] = field(default_factory=dict)


def make_rows(label: str, measured: Mapping[str, Measurement], *, images: int, forward_flops: int, peak: Timings,
              shared: Mapping[str, object]) -> list[dict]:
    """A row for each way of training. Ratios and shares are per round, to the fastest peer of a kind.

    images: per epoch; forward_flops: per image; peak: FLOP/s of a matrix product, by round.
    """
    fastest = {kind: min((each.image_s for each in measured.values() if each.kind == kind),
                         key=lambda image_s: image_s.median, default=None) for kind in PEERS}
    alone = {each.facts.get("step"): each.image_s for each in measured.values() if each.kind == "step"}
    rows = []
    for way, each in measured.items():
        rates = each.image_s.map(lambda image_s: 1 / image_s)
        flops_s = rates.map(lambda rate: FORWARDS_PER_STEP * forward_flops * rate)
        figures = {"way": way, "kind": each.kind, "images_per_second": rates.row(1),
                   "epochs_per_second": rates.map(lambda rate: rate / images).row(5),
                   "model_tflops": flops_s.map(lambda flops: flops / 1e12).row(4),
                   "share_of_peak": flops_s.per(peak).row(4)}
        if each.kind == "ours":
            figures |= {f"ratio_{kind}": peer_s.per(each.image_s).row(3) for kind, peer_s in fastest.items() if peer_s}
            figures["data_cost"] = alone[each.facts["step"]].per(each.image_s).map(lambda share: 1 - share).row(4)
        rows.append(complete(label, {**shared, **each.facts, **figures}))
    return rows


def peak_row(label: str, way: str, peak: Timings, facts: Mapping[str, object]) -> dict:
    tflops = peak.map(lambda flops: flops / 1e12).row(4)
    return complete(label, {**facts, "way": way, "kind": "peak", "peak_tflops": tflops})


def failed_row(label: str, way: str, kind: str, reason: str) -> dict:
    """The row of a way that cannot be timed, such as a step mode that failed its check: the reason, no figures."""
    return complete(label, {"way": way, "kind": kind, "failed": reason})


def complete(label: str, found: Mapping[str, object]) -> dict:
    """A row with its name and all of KEYS in order, None where `found` has no value."""
    return dict.fromkeys(KEYS) | {"name": f"{label}, {found['way']}", "label": label} | dict(found)
