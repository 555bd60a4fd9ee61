"""Whether an exported network answers as the one it was made from, on real images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from engine.common.errors import EngineError

Answer = Callable[[torch.Tensor], torch.Tensor]
LEAST_AGREEMENT = 0.999
# Of lower precision: the first class may change where two are about as likely, not wherever.
LEAST_AGREEMENT_LOW = 0.8
# Of the logits' spread: thousands of times what the order of additions changes, a tenth of what a wrong file does.
MOST_DIFFERENCE = 0.01
MOST_TOP1_LOST = 0.01
CHUNK = 250


@dataclass(frozen=True)
class Check:
    """The largest |difference| of logits, the share of images with the same first class, the share answered right.

    spread: from the lowest to the highest of the logits expected.
    """

    max_difference: float
    agreement: float
    top1: float
    spread: float


def answers(answer: Answer, images_bhwc: torch.Tensor) -> torch.Tensor:
    """The logits (N, classes) of uint8 images (N, H, W, 3), in batches of 1, then CHUNK, then what is left.

    So an answer that holds for one size of batch alone does not pass.
    """
    first, rest = images_bhwc[:1], images_bhwc[1:]
    with torch.no_grad():
        return torch.cat([answer(batch) for batch in (first, *rest.split(CHUNK)) if len(batch)])


def top1(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of images whose label has the largest logit."""
    return (logits.argmax(1) == labels).double().mean().item()


def check(expected: torch.Tensor, came: torch.Tensor, labels: torch.Tensor) -> Check:
    """Compare logits (N, classes) with those expected; labels int64 (N,). NaN differs by infinity and agrees never."""
    difference = (came - expected).abs().nan_to_num(nan=torch.inf).max().item()
    finite = came.isfinite().all(1)
    same = (came.argmax(1) == expected.argmax(1)) & finite
    right = (came.argmax(1) == labels) & finite
    return Check(difference, same.double().mean().item(), right.double().mean().item(),
                 (expected.max() - expected.min()).item())


def refuse(name: str, found: Check, least_agreement: float = LEAST_AGREEMENT) -> None:
    """EngineError where `found` of format `name` is below what a file of the network's own precision must reach."""
    if found.agreement < least_agreement:
        raise EngineError(f"--format {name}: the exported network gives the same first class for {found.agreement:.2%} "
                          f"of the images (max difference {found.max_difference:.3g}), {least_agreement:.1%} are "
                          "needed: nothing was written; choose another format")


def refuse_difference(name: str, found: Check, most: float = MOST_DIFFERENCE) -> None:
    """EngineError where a logit of format `name` is further off than `most` of their spread.

    A network that gives one class to everything agrees in its first class whatever a file makes of it.
    """
    if found.max_difference > most * found.spread + 1e-6:
        raise EngineError(f"--format {name}: the exported network's logits are up to {found.max_difference:.3g} off, "
                          f"{most * found.spread:.3g} are allowed: nothing was written; choose another format")


def refuse_loss(name: str, found: Check, before: float, most: float = MOST_TOP1_LOST) -> None:
    """EngineError where format `name`, of lower precision, answers fewer images right than `before` less `most`."""
    if found.top1 < before - most - 1e-9:
        raise EngineError(f"--format {name}: top-1 falls from {before:.2%} to {found.top1:.2%}, at most "
                          f"{100 * most:g} point may be lost: nothing was written; choose another format")
