"""The baseline CNN: its layers, shapes and initial weights."""

import torch
from torch import nn

from engine.models.baseline import Baseline


def test_layers_in_order():
    model = Baseline(100)
    block = ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    assert [type(m).__name__ for m in model.features] == block * 3
    assert [type(m).__name__ for m in model.head] == ["Flatten", "Linear", "ReLU", "Dropout", "Linear"]
    convolutions = [m for m in model.features if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [(3, 64), (64, 128), (128, 256)]
    assert all(c.kernel_size == (3, 3) and c.padding == (1, 1) and c.bias is not None for c in convolutions)
    assert model.head[3].p == 0.5


def test_feature_maps_and_head_follow_the_resolution():
    with torch.device("meta"):
        for resolution in (8, 32, 64):
            model = Baseline(5, resolution)
            side = resolution // 8
            assert model.features(torch.empty(2, 3, resolution, resolution)).shape == (2, 256, side, side)
            assert model.head[1].in_features == 256 * side * side


def test_weights_start_as_torch_starts_them():
    torch.manual_seed(3)
    model = Baseline(10)
    torch.manual_seed(3)
    assert torch.equal(model.features[0].weight, nn.Conv2d(3, 64, 3, padding=1).weight)
