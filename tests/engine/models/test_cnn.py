"""The CNN family: what each of its parameters changes."""

import math

import pytest
import torch
from torch import nn

from engine.common.errors import EngineError
from engine.models.cnn import Cnn


def stages(model):
    """Output channels of the convolutions, one list per stage."""
    found = [[]]
    for module in model.features:
        if isinstance(module, nn.Conv2d):
            found[-1].append(module.out_channels)
        elif isinstance(module, nn.MaxPool2d):
            found.append([])
    return found[:-1]


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (2, [[8], [16]]),
        (3, [[8], [16], [32]]),
        (4, [[8], [16], [32, 32]]),
        (5, [[8], [16, 16], [32, 32]]),
        (6, [[8, 8], [16, 16], [32, 32]]),
        (7, [[8, 8], [16, 16], [32, 32, 32]]),
    ],
)
def test_depth_is_spread_over_the_stages(depth, expected):
    assert stages(Cnn(10, depth=depth, width=8)) == expected


@pytest.mark.parametrize("kernel_px", [1, 3, 5, 7])
def test_kernels_keep_the_size(kernel_px):
    with torch.device("meta"):
        model = Cnn(10, 24, kernel_px=kernel_px, width=8)
        assert model.features(torch.empty(2, 3, 24, 24)).shape == (2, 32, 3, 3)
    assert {m.kernel_size for m in model.features if isinstance(m, nn.Conv2d)} == {(kernel_px, kernel_px)}


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm2d), ("group", nn.GroupNorm), ("none", None)])
@pytest.mark.parametrize("width", [1, 12, 32])
def test_norms(norm, kind, width):
    model = Cnn(10, depth=4, width=width, norm=norm)
    norms = [type(m) for m in model.features if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)]
    assert norms == ([kind] * 4 if kind else [])
    assert all((m.bias is None) == (norm != "none") for m in model.features if isinstance(m, nn.Conv2d))
    assert model.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_heads():
    average, flat = Cnn(10, 16, width=4).head, Cnn(10, 16, width=4, head="flatten").head
    assert [type(m).__name__ for m in average] == ["AdaptiveAvgPool2d", "Flatten", "Dropout", "Linear"]
    assert average[-1].in_features == 16
    assert [type(m).__name__ for m in flat] == ["Flatten", "Linear", "ReLU", "Dropout", "Linear"]
    assert (flat[1].in_features, flat[1].out_features) == (16 * 2 * 2, 32)


def test_convolutions_start_as_kaiming_fan_out():
    torch.manual_seed(0)
    for module in Cnn(10, width=32, kernel_px=5).features:
        if isinstance(module, nn.Conv2d):
            expected = math.sqrt(2 / (module.out_channels * 25))
            assert abs(module.weight.std().item() / expected - 1) < 5 / math.sqrt(2 * module.weight.numel())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 1}, "model.depth=1 must be 2 or more"),
        ({"width": 0}, "model.width=0 must be 1 or more"),
        ({"kernel_px": 4}, "model.kernel_px=4 must be odd"),
        ({"kernel_px": -1}, "model.kernel_px=-1 must be odd and positive"),
        ({"norm": "layer"}, "model.norm=layer must be one of batch, group, none"),
        ({"head": "max"}, "model.head=max must be one of average, flatten"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(EngineError, match=message):
        Cnn(10, **options)


def test_two_stages_need_a_multiple_of_4():
    assert Cnn(10, 20, depth=2)(torch.randn(2, 3, 20, 20)).shape == (2, 10)
    with pytest.raises(EngineError, match="data.resolution=18 must be a multiple of 4 px"):
        Cnn(10, 18, depth=2)
