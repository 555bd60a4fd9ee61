"""The sprint net with residual pairs against its definition by hand."""

import pytest
import torch
from torch import nn
from torch.nn.functional import silu

from engine.common.errors import EngineError
from engine.models.flops import flops_per_image, parameters
from engine.models.sprint_pairs import KERNELS, PairGroup, SprintPairs

SMALL = {"widths": (24, 32, 40), "inner": (8, 12, 16)}


def test_the_size_stated_in_its_docstring():
    with torch.device("meta"):
        model = SprintPairs(100)
        assert parameters(model) == (8_608_024 + 24 * 3 * 2 * 2, 8_608_024)
        assert round(flops_per_image(model, 32) / 2e6) == 175


@pytest.mark.parametrize(("resolution", "sides"), [(32, (31, 15, 7, 3)), (24, (23, 11, 5, 2)), (20, (19, 9, 4, 2))])
def test_multiply_adds_by_hand(resolution, sides):
    with torch.device("meta"):
        model = SprintPairs(100)
    expected, before = 24 * 12 * sides[0] ** 2 + 768 * 100, 24
    for width, inner, (first, into, back), side, pooled in zip((64, 256, 768), (64, 192, 512), KERNELS, sides,
                                                               sides[1:], strict=False):
        expected += first**2 * before * width * side**2 + (into**2 + back**2) * width * inner * pooled**2
        before = width
    assert flops_per_image(model, resolution) == 2 * expected


def test_the_speedruns_structure():
    model = SprintPairs(100)
    convolutions = [m for m in model.groups.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in convolutions] == [
        (24, 64, 3), (64, 64, 1), (64, 64, 1), (64, 256, 3), (256, 192, 3), (192, 256, 1),
        (256, 768, 2), (768, 512, 3), (512, 768, 3)]
    assert model.head.bias is None and not model.stem.bias.any()
    assert {(m.eps, m.momentum) for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {(1e-5, 0.1)}


def test_what_trains():
    model = SprintPairs(10, **SMALL)
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == {"stem.weight"}
    model(torch.randn(8, 3, 32, 32)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("side", [7, 8])
def test_a_group_by_hand(kernels, side):
    torch.manual_seed(0)
    group = PairGroup(4, 6, 5, kernels, "silu").eval()
    for parameter in group.parameters():
        nn.init.normal_(parameter, std=0.3)
    first, into, back = kernels
    x = torch.randn(2, 4, side, side)
    padded = nn.functional.pad(x, (0, 1, 0, 1)) if first == 2 else nn.functional.pad(x, (1, 1, 1, 1))
    y = nn.functional.conv2d(padded, group.conv1.weight)
    assert y.shape[2:] == (side, side)
    y = silu(group.norm1(nn.functional.max_pool2d(y, 2)))
    branch = silu(group.norm2(nn.functional.conv2d(y, group.conv2.weight, padding=into // 2)))
    branch = silu(group.norm3(nn.functional.conv2d(branch, group.conv3.weight, padding=back // 2)))
    torch.testing.assert_close(group(x), y + branch)


@pytest.mark.parametrize("side_px", [32, 24, 20])
def test_logits_by_hand(side_px):
    torch.manual_seed(0)
    model = SprintPairs(5, **SMALL).eval()
    images = torch.randn(3, 3, side_px, side_px)
    maps = model.groups(silu(model.stem(images))).flatten(2)
    features = maps.sort(2).values[:, :, -1] + maps.sum(2) / maps.shape[2]
    torch.testing.assert_close(model(images), features @ model.head.weight.T * 5 / 36)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 15}, "data.resolution=15 must be 16 px or more"),
        ({"activation": "tanh"}, "model.activation=tanh must be one of gelu, relu, silu"),
        ({"widths": (64, 32, 64)}, "model.widths=64,32,64 must be three numbers, none below the one before"),
        ({"inner": (64, 0, 64)}, "model.inner=64,0,64 must be three numbers above 0"),
        ({"inner": (64, 64)}, "model.inner=64,64 must be three numbers above 0"),
        ({"classes": 0}, "model.classes=0 must be 1 or more"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(EngineError, match=message):
        SprintPairs(**{"classes": 10, **options})
