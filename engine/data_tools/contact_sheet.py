"""A contact sheet of policies on a data set's own images."""

from pathlib import Path

import numpy as np

from engine.build.datasets import open_data
from engine.build.feeds import mean_rgb
from engine.plots.contact_sheet import draw_sheet
from loaders.common import counter_rng
from loaders.host.executor import PackedPolicy, augment
from loaders.policy.named_policies import POLICIES
from loaders.policy.policy import parse
from recipes.settings.load import Recipe


def policy_sheet(recipe: Recipe, path: Path, epoch: int = 0, count: int = 10) -> Path:
    """Draw the first images of `count` classes, as they are and under the recipe's and every named policy."""
    split = open_data(recipe).read("train")
    firsts = np.unique(split.labels, return_index=True)[1]
    indices = firsts[np.linspace(0, len(firsts) - 1, min(count, len(firsts))).astype(int)]
    own = recipe.section("augment").policy
    policies = {"as it is": "none", **({} if own in ("none", *POLICIES) else {recipe.name: own}),
                **{name: name for name in POLICIES}}
    seed = recipe.section("train").seed
    rows = {name: augmented(split.images_nhwc, indices, text, seed, epoch, mean_rgb(recipe))
            for name, text in policies.items()}
    return draw_sheet(rows, path)


def augmented(images_nhwc: np.ndarray, indices: np.ndarray, text: str, seed: int, epoch: int,
              mean: tuple[int, int, int]) -> np.ndarray:
    """uint8 (n, out height, out width, 3): `indices` of the images as policy `text` shows them in `epoch`."""
    count, height, width, _ = images_nhwc.shape
    program = PackedPolicy(parse(text, height, width), mean)
    pointers = np.arange(count, dtype=np.uint64) * np.uint64(height * width * 3)
    out = np.empty((len(indices), *program.out_shape), np.uint8)
    augment(np.ascontiguousarray(images_nhwc).reshape(-1), pointers, indices.astype(np.int64), program,
            counter_rng.epoch_state(seed, epoch), out)
    return out
