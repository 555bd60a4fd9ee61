"""The four-block CNN: its layers and shapes."""

import torch
from torch import nn

from engine.models.cnn4 import Cnn4


def test_layers_in_order():
    model = Cnn4(10)
    block, pooled = ["Conv2d", "BatchNorm2d", "ReLU"], ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    assert [type(m).__name__ for m in model.features] == block + pooled * 3
    head = ["Flatten", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Linear"]
    assert [type(m).__name__ for m in model.head] == head
    convolutions = [m for m in model.features if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [32, 64, 128, 256]
    assert [m.out_features for m in model.head if isinstance(m, nn.Linear)] == [512, 128, 10]
    assert model.head[3].p == 0.1


def test_feature_maps_follow_the_resolution():
    with torch.device("meta"):
        assert Cnn4(10, 48).features(torch.empty(2, 3, 48, 48)).shape == (2, 256, 6, 6)
