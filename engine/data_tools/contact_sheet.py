"""A contact sheet of augmentation policies on a data set's images."""

from pathlib import Path

import numpy as np

from engine.build.datasets import open_data
from engine.build.feeds import mean_rgb
from engine.common.files import make_folder, refuse_unwritable
from engine.plots.contact_sheet import draw_sheet
from loaders.common import counter_rng
from loaders.host.executor import PackedPolicy, augment
from loaders.policy.named_policies import POLICIES
from loaders.policy.policy import parse
from recipes.settings.load import Recipe

MOST_CLASSES = 10


def policy_sheet(recipe: Recipe, path: Path, epoch: int) -> Path:
    """Draw the first image of up to 10 classes, unaugmented and under the recipe's and each named policy in `epoch`.

    Makes the folder of `path`; EngineError, before any work, where it cannot be written.
    """
    refuse_unwritable(path)
    make_folder(path.parent)
    split = open_data(recipe).read("train")
    firsts = np.unique(split.labels, return_index=True)[1]
    indices = firsts[np.linspace(0, len(firsts) - 1, min(MOST_CLASSES, len(firsts))).astype(int)]
    own = recipe.section("augment").policy
    policies = {"as it is": "none", **({} if own in ("none", *POLICIES) else {recipe.name: own}),
                **{name: name for name in POLICIES}}
    count, height, width, _ = split.images_nhwc.shape
    pixels = np.ascontiguousarray(split.images_nhwc).reshape(-1)
    pointers = np.arange(count, dtype=np.uint64) * np.uint64(height * width * 3)
    state = counter_rng.epoch_state(recipe.section("train").seed, epoch)
    rows = {}
    for name, text in policies.items():
        packed = PackedPolicy(parse(text, height, width), mean_rgb(recipe))
        rows[name] = np.empty((len(indices), *packed.out_shape), np.uint8)
        augment(pixels, pointers, indices.astype(np.int64), packed, state, rows[name])
    return draw_sheet(rows, path)
