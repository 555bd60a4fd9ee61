"""Whether an exported network gives the same logits as the original, on real images."""

from collections.abc import Callable

import torch

from engine.common.errors import EngineError

# uint8 (B, side, side, 3) -> float32 (B, classes)
Logits = Callable[[torch.Tensor], torch.Tensor]
LEAST_AGREEMENT = 0.999
# In lower precision the first class may change for images with two about equally probable classes.
LEAST_AGREEMENT_LOW = 0.8
# As a share of the logits' spread: thousands of times the effect of reordered additions, a tenth of a wrong file's.
MOST_DIFFERENCE = 0.01
MOST_TOP1_LOST = 0.01
CHUNK = 250


def all_logits(logits: Logits, images_bhwc: torch.Tensor) -> torch.Tensor:
    """The logits (N, classes) of uint8 images (N, H, W, 3), in batches of 1, CHUNK and the rest, so that a file that
    works for one batch size only fails."""
    first, rest = images_bhwc[:1], images_bhwc[1:]
    with torch.no_grad():
        return torch.cat([logits(batch) for batch in (first, *rest.split(CHUNK)) if len(batch)])


def top1(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of images whose label has the largest logit."""
    return (logits.argmax(1) == labels).double().mean().item()


def compare(expected: torch.Tensor, actual: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """max_difference of logits (N, classes), agreement: the share of images with the same first class, and top1.
    labels: int64 (N,). NaN differs infinitely and never agrees."""
    difference = (actual - expected).abs().nan_to_num(nan=torch.inf).max().item()
    finite = actual.isfinite().all(1)
    same = (actual.argmax(1) == expected.argmax(1)) & finite
    right = (actual.argmax(1) == labels) & finite
    return {"max_difference": difference, "agreement": same.double().mean().item(),
            "top1": right.double().mean().item()}


def refuse(name: str, max_difference: float, agreement: float, top1: float, *, spread: float,
           original_top1: float | None = None) -> None:
    """EngineError if format `name` compares too badly with the original, whose logits have a `spread`, max - min.

    original_top1 means a lower precision: fewer images must agree, and top-1 may fall by MOST_TOP1_LOST. Otherwise
    logits may also differ by at most MOST_DIFFERENCE of their spread, as a network that predicts the same class for
    every image agrees even with a wrong file.
    """
    least, problem = LEAST_AGREEMENT if original_top1 is None else LEAST_AGREEMENT_LOW, None
    if agreement < least:
        problem = (f"the exported network gives the same first class for {agreement:.2%} of the images (max difference "
                   f"{max_difference:.3g}), at least {least:.1%} are needed")
    elif original_top1 is not None and top1 < original_top1 - MOST_TOP1_LOST - 1e-9:
        problem = f"top-1 falls from {original_top1:.2%} to {top1:.2%}, at most {MOST_TOP1_LOST:.0%} may be lost"
    elif original_top1 is None and max_difference > MOST_DIFFERENCE * spread + 1e-6:
        problem = (f"the exported network's logits are up to {max_difference:.3g} off, {MOST_DIFFERENCE * spread:.3g} "
                   "are allowed")
    if problem:
        raise EngineError(f"--format {name}: {problem}: nothing was written; choose another format")
