"""A recipe's data settings become feeds, with explicit arguments."""

import torch

from engine.checks import policy_of
from loaders.beton import Beton
from loaders.feed import DeviceFeed, Feeds, build_feeds, train_feed
from recipes.load import Recipe


def mean_rgb(recipe: Recipe) -> tuple[int, int, int]:
    """The mean colour as whole numbers 0..255: what augmentation paints where it fills with the mean."""
    red, green, blue = (round(255 * share) for share in recipe.section("data").mean)
    return red, green, blue


def build_train_feed(recipe: Recipe, beton: Beton, device: torch.device, threads: int,
                     shard: tuple[int, int] = (0, 1)) -> DeviceFeed:
    """The training feed alone, or one process's (rank, ranks) share of it."""
    train, data = recipe.section("train"), recipe.section("data")
    return train_feed(beton, policy=policy_of(recipe), batch=train.batch, seed=train.seed, validation=data.validation,
                      split_seed=data.split_seed, threads=threads, batches_ahead=data.batches_ahead,
                      mean_rgb=mean_rgb(recipe), device=device, shard=shard)[0]


def build_all_feeds(recipe: Recipe, betons: dict[str, Beton], device: torch.device, threads: int) -> Feeds:
    """The train, validation and test feeds."""
    train, data = recipe.section("train"), recipe.section("data")
    return build_feeds(betons["train"], betons.get("test"), policy=policy_of(recipe), batch=train.batch,
                       eval_batch=recipe.section("eval").batch, seed=train.seed, validation=data.validation,
                       split_seed=data.split_seed, threads=threads, batches_ahead=data.batches_ahead,
                       mean_rgb=mean_rgb(recipe), device=device)
