"""How batches are mixed and resized, from the settings of a recipe."""

from collections.abc import Callable
from functools import partial

from engine.training import mixing
from recipes.settings.load import Recipe
from recipes.settings.moments import in_epochs


def build_mixing(recipe: Recipe) -> Callable[[int, int, int, int], mixing.Mix | None] | None:
    """(epoch, step, height, width) -> the batch's Mix or None; None where the recipe never mixes."""
    mix = recipe.section("mix")
    if not mix.p:
        return None
    cutmix_share = {"cutmix": 1.0, "mixup": 0.0}.get(mix.kind, recipe.get("mix.switch_p"))
    alphas = {key: getattr(mix, key) for key in ("cutmix_alpha", "mixup_alpha") if hasattr(mix, key)}
    return partial(mixing.draw_mix, recipe.section("train").seed,
                   cutmix_p=mix.p * cutmix_share, mixup_p=mix.p * (1 - cutmix_share), **alphas)


def build_sizes(recipe: Recipe, steps_per_epoch: int) -> Callable[[int, int], int | None]:
    """Progressive resolution: (epoch, step) -> the side in px of that batch's images, None for unchanged."""
    starts = sorted(((round(in_epochs(moment, recipe.epochs) * steps_per_epoch, 6), side_px)
                     for moment, side_px in recipe.section("train").sizes.items()), reverse=True)

    def size_of(epoch: int, step: int) -> int | None:
        before = epoch * steps_per_epoch + step
        return next((side_px for start, side_px in starts if before >= start), None)

    return size_of
