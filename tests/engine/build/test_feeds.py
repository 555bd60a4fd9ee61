"""The mean colour of a recipe reaches the pixels channel by channel: a data set of which no two channels are alike."""


import numpy as np
import pytest
import torch
from PIL import Image

from engine.build.datasets import open_betons, open_data
from engine.build.feeds import build_train_feed
from recipes.settings.load import load

ORANGE = (230, 120, 20)
# data.mean as shares of 1, and the same of 255.
MEAN, PAINTED = (0.1, 0.45, 0.875), (26, 115, 223)


@pytest.fixture(scope="module")
def orange_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("orange")
    for name in ("a", "b"):
        (root / "train" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (16, 16), ORANGE).save(root / "train" / name / f"{number}.png")
    return root


@pytest.mark.parametrize("feed", ["resident", pytest.param("stream", marks=pytest.mark.slow("imports FFCV"))])
def test_fill_mean_paints_data_mean_in_the_order_of_the_channels(orange_folder, tmp_path, feed):
    recipe = load("quickstart", settings={
        "data.name": "folder", "data.root": str(orange_folder), "data.cache": str(tmp_path), "data.resolution": 16,
        "data.validation": 0, "data.mean": MEAN, "augment.policy": "cutout(hole_px=5, fill=mean)", "data.feed": feed,
        "train.batch": 8})
    betons = open_betons(recipe, open_data(recipe))
    assert betons["train"].channel_mean == pytest.approx([value / 255 for value in ORANGE])
    trained = build_train_feed(recipe, betons, torch.device("cpu"), 1)
    with trained.epoch(0) as batches:
        [batch] = batches
    colours, counts = np.unique(batch.images_bhwc.numpy().reshape(-1, 3), axis=0, return_counts=True)
    assert dict(zip(map(tuple, colours.tolist()), counts.tolist(), strict=True)) == {
        PAINTED: 8 * 25, ORANGE: 8 * (256 - 25)}
    trained.close()
