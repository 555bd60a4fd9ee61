"""The data settings of a recipe become feeds, with explicit arguments."""

import torch

from engine.build.preflight import evaluation_policy_of, policy_of
from engine.build.splits import fit_to_splits
from loaders.beton.cache import Beton
from loaders.feeds.build import Feed, Feeds, Place, build_feeds, choose_kind, train_feed
from recipes.settings.load import Recipe


def mean_rgb(recipe: Recipe) -> tuple[int, int, int]:
    """The mean colour, 0..255 per channel, which augmentation fills with where it fills with the mean."""
    red, green, blue = (round(255 * share) for share in recipe.section("data").mean)
    return red, green, blue


def place_of(recipe: Recipe, betons: dict[str, Beton], device: torch.device, threads: int) -> Place:
    """The kind of feed, its device and its threads."""
    kind = choose_kind(recipe.section("data").feed, device, list(betons.values()))
    return Place(kind, device, threads, recipe.get("data.batches_ahead", 3))


def train_options(recipe: Recipe, betons: dict[str, Beton]) -> dict:
    """The arguments of the training feed besides its place."""
    train, data = recipe.section("train"), fit_to_splits(recipe, betons).section("data")
    return {"policy": policy_of(recipe), "batch": train.batch, "seed": train.seed, "validation": data.validation,
            "split_seed": recipe.get("data.split_seed", 0), "mean_rgb": mean_rgb(recipe)}


def build_train_feed(recipe: Recipe, betons: dict[str, Beton], device: torch.device, threads: int,
                     shard: tuple[int, int] = (0, 1)) -> Feed:
    """The training feed; shard: (rank, ranks) of a process that takes its share of it."""
    place = place_of(recipe, betons, device, threads)
    return train_feed(betons["train"], place, shard=shard, **train_options(recipe, betons))[0]


def build_all_feeds(recipe: Recipe, betons: dict[str, Beton], device: torch.device, threads: int,
                    shard: tuple[int, int] = (0, 1)) -> Feeds:
    """The train, validation and test feeds; shard: as in `build_train_feed`."""
    place = place_of(recipe, betons, device, threads)
    return build_feeds(betons, place, eval_batch=recipe.section("eval").batch,
                       eval_policy=evaluation_policy_of(recipe), shard=shard, **train_options(recipe, betons))
