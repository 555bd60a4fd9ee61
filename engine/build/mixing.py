"""How batches are mixed and resized, from the settings of a recipe."""

from collections.abc import Callable, Mapping
from functools import partial

from engine.training import mixing
from recipes.settings.load import Recipe


def build_mixing(recipe: Recipe) -> Callable[[int, int, int, int], mixing.Mix | None] | None:
    """(epoch, step, height, width) -> the batch's Mix or None; None where the recipe never mixes."""
    mix = recipe.section("mix")
    if not mix.p:
        return None
    cutmix_share = {"cutmix": 1.0, "mixup": 0.0}.get(mix.kind, recipe.get("mix.switch_p"))
    alphas = {key: getattr(mix, key) for key in ("cutmix_alpha", "mixup_alpha") if hasattr(mix, key)}
    return partial(mixing.draw_mix, recipe.section("train").seed,
                   cutmix_p=mix.p * cutmix_share, mixup_p=mix.p * (1 - cutmix_share), **alphas)


def size_of(sizes: Mapping[int, int], epoch: int) -> int | None:
    """Progressive resolution: the side in px of the images of `epoch`, None for unchanged."""
    return next((px for first, px in sorted(sizes.items(), reverse=True) if epoch >= first), None)
