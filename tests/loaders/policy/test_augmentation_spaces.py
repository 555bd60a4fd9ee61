"""The macros against torchvision's own augmentation spaces: which operations, how strong, which way, how often.

Nothing here reads the lowering or a draw. Each augmented image is looked for among all that torchvision's class can
make of the same image, and how often each is found is compared with how often torchvision would make it.
"""

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, RandAugment, TrivialAugmentWide
from torchvision.transforms.autoaugment import _apply_op

from tests.loaders.images import on_host

HEIGHT, WIDTH = 30, 24


def photo() -> np.ndarray:
    """uint8 (HEIGHT, WIDTH, 3) without symmetry: waves and a texture; red spans 0 to 255, green and blue less."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = np.stack([np.sin(x / 4 + 1) + np.cos(y / 5) + x * y / 400, np.cos(x / 3) + np.sin(y / 6 + x / 5),
                      2 * np.sin((x + 2 * y) / 8)], -1) + 2 * np.random.default_rng(0).random((HEIGHT, WIDTH, 3))
    shares = (waves - waves.min((0, 1))) / np.ptp(waves, (0, 1))
    return (shares * (255, 150, 120) + (0, 45, 60)).astype(np.uint8)


def applied(image: torch.Tensor, name: str, magnitude: float) -> torch.Tensor:
    """torchvision's operation on uint8 (3, H, W); moves are bilinear, in floats, and so rounded once."""
    if not name.startswith(("Shear", "Translate", "Rotate")):
        return _apply_op(image, name, magnitude, InterpolationMode.BILINEAR, None)
    # 16 of 32 px arrive as 15.999999 from torch.linspace, and `int` would make 15 of them.
    return _apply_op(image.float(), name, round(magnitude, 4), InterpolationMode.BILINEAR, None).round().to(torch.uint8)


def choices(space: dict, step: int | None = None) -> list[tuple[str, float, float]]:
    """(operation, signed magnitude, probability), with every strength or with that of one step."""
    listed = []
    for name, (magnitudes, signed) in space.items():
        values = magnitudes.flatten() if step is None or not magnitudes.ndim else magnitudes[step:step + 1]
        signs = (1, -1) if signed else (1,)
        listed += [(name, sign * float(value), 1 / len(space) / len(values) / len(signs))
                   for value in values for sign in signs]
    return listed


def rows(images: torch.Tensor) -> torch.Tensor:
    """uint8 (N, 3, H, W) -> float64 (N, H * W * 3)."""
    return images.permute(0, 2, 3, 1).flatten(1).double()


def distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The mean squared difference of each row of `a` and each of `b`."""
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T) / a.shape[1]


def check_law(ours: torch.Tensor, theirs: torch.Tensor, probabilities: list[float], within: float) -> None:
    """All of our rows are among theirs, to a mean squared difference, and as often as the probabilities say."""
    # Of two steps that make the same image nobody can tell which it was: they count as one.
    group = (distances(theirs, theirs) < 0.02).double().argmax(1)
    off, nearest = distances(ours, theirs).min(1)
    assert off.max() <= within, "an image that torchvision cannot make"
    expected = torch.zeros(len(theirs)).index_add_(0, group, torch.tensor(probabilities)) * len(ours)
    counts = torch.bincount(group[nearest], minlength=len(theirs))
    possible = expected > 0
    chi_square = ((counts - expected)[possible].square() / expected[possible]).sum()
    freedom = possible.sum() - 1
    assert chi_square < freedom + 5 * (2 * freedom) ** 0.5


def augmented(text: str, count: int) -> torch.Tensor:
    made = on_host(text, np.repeat(photo()[None], count, 0), range(count), seed=11, epoch=4)
    return torch.from_numpy(made).flatten(1).double()


def chw() -> torch.Tensor:
    return torch.from_numpy(photo()).permute(2, 0, 1).contiguous()


def test_trivial_wide_draws_torchvisions_operations_strengths_and_signs():
    listed = choices(TrivialAugmentWide()._augmentation_space(31))
    theirs = rows(torch.stack([applied(chw(), name, magnitude) for name, magnitude, _ in listed]))
    check_law(augmented("trivial_wide()", 6000), theirs, [p for *_, p in listed], within=0.3)


@pytest.mark.parametrize("magnitude", range(31))
def test_one_round_of_rand_augment_has_torchvisions_strength_at_each_magnitude(magnitude):
    listed = choices(RandAugment()._augmentation_space(31, (HEIGHT, WIDTH)), magnitude)
    theirs = rows(torch.stack([applied(chw(), name, value) for name, value, _ in listed]))
    check_law(augmented(f"rand_augment(n=1, magnitude={magnitude})", 400), theirs, [p for *_, p in listed], within=0.3)


def test_rounds_of_rand_augment_are_drawn_apart():
    listed = choices(RandAugment()._augmentation_space(31, (HEIGHT, WIDTH)), 20)
    theirs = rows(torch.stack([applied(applied(chw(), *first), *second)
                               for *first, _ in listed for *second, _ in listed]))
    pairs = [p * q for *_, p in listed for *_, q in listed]
    check_law(augmented("rand_augment(n=2, magnitude=20)", 5000), theirs, pairs, within=40)
