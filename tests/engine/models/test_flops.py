"""The published sizes, to the parameter."""

import pytest
import torch
from torch import nn

from engine.models.flops import flops_per_image, parameters
from engine.models.registry import build


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [("baseline", 100, 2_520_676), ("cnn4", 10, 2_553_994), ("resnet34", 100, 30_032_292), ("cnn", 10, 288_746)],
)
def test_parameters_of_the_published_networks(name, classes, expected):
    with torch.device("meta"):
        assert parameters(build(name, classes)) == (expected, expected)


def test_frozen_and_shared_parameters():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm1d(3))
    model[1].weight = model[0].weight
    model[2].requires_grad_(False)
    assert parameters(model) == (9 + 3 + 3 + 6, 9 + 3 + 3)


def test_flops_of_baseline_by_hand():
    convolutions = 3 * 64 * 9 * 32**2 + 64 * 128 * 9 * 16**2 + 128 * 256 * 9 * 8**2
    with torch.device("meta"):
        model = build("baseline", 100)
    assert flops_per_image(model, 32) == 2 * (convolutions + 4096 * 512 + 512 * 100)


def test_flops_of_resnet34_by_hand():
    stem, layer1 = 3 * 64 * 9 * 32**2, 10 * 64 * 64 * 9 * 32**2
    macs = stem + layer1
    for channels, side in ((128, 16), (256, 8), (512, 4)):
        half = channels // 2
        macs += (half * channels * 9 + half * channels + 9 * channels * channels * 9) * side**2
    with torch.device("meta"):
        model = build("resnet34", 100)
    assert flops_per_image(model, 32) == 2 * (macs + 512 * 100)


def test_flops_where_the_last_feature_map_is_one_pixel():
    # In training mode a norm refuses a single value per channel.
    with torch.device("meta"):
        model = build("resnet34", 100)
    head = 2 * 512 * 100
    assert 16 * (flops_per_image(model, 8) - head) == flops_per_image(model, 32) - head


def test_flops_grow_with_the_resolution():
    with torch.device("meta"):
        model = build("resnet34", 100)
    head = 2 * 512 * 100
    assert flops_per_image(model, 64) - head == 4 * (flops_per_image(model, 32) - head)


def test_counting_leaves_the_network_as_it_was():
    model = build("cnn", 10, width=4).train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    flops_per_image(model, 32)
    assert all(m.training for m in model.modules())
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
