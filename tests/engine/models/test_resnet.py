"""ResNet-34 for 32 px: its shapes, blocks and initial weights."""

import math

import pytest
import torch
from torch import nn

from engine.common.errors import EngineError
from engine.models.resnet import BasicBlock, ResNet


def test_feature_maps_layer_by_layer():
    with torch.device("meta"):
        model = ResNet(100)
        shapes = {}
        for name in ("bn1", "layer1", "layer2", "layer3", "layer4", "avgpool"):
            model.get_submodule(name).register_forward_hook(
                lambda _, __, out, name=name: shapes.update({name: tuple(out.shape[1:])})
            )
        model(torch.empty(1, 3, 32, 32))
    assert shapes == {
        "bn1": (64, 32, 32), "layer1": (64, 32, 32), "layer2": (128, 16, 16), "layer3": (256, 8, 8),
        "layer4": (512, 4, 4), "avgpool": (512, 1, 1),
    }


def test_five_blocks_a_layer_and_a_1x1_downsample_where_the_shape_changes():
    with torch.device("meta"):
        model = ResNet(100)
    for number, layer in enumerate((model.layer1, model.layer2, model.layer3, model.layer4), start=1):
        assert len(layer) == 5
        downsamples = [block.downsample is not None for block in layer]
        assert downsamples == [number > 1, False, False, False, False]
    assert model.layer2[0].downsample[0].kernel_size == (1, 1)
    assert all(m.bias is None for m in model.modules() if isinstance(m, nn.Conv2d))
    assert model.dropout.p == 0.3


def test_convolutions_start_as_kaiming_fan_out_and_norms_as_identity():
    torch.manual_seed(0)
    model = ResNet(100, width=16)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            out, _, height, width = module.weight.shape
            expected = math.sqrt(2 / (out * height * width))
            count = module.weight.numel()
            # Standard errors: of a deviation sd / sqrt(2n), of a mean sd / sqrt(n); five of them.
            assert abs(module.weight.std().item() - expected) < 5 * expected / math.sqrt(2 * count), name
            assert abs(module.weight.mean().item()) < 5 * expected / math.sqrt(count), name
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all()


def test_a_block_is_its_two_convolutions_added_to_its_input():
    torch.manual_seed(0)
    block = BasicBlock(4, 8, 2).eval()
    x = torch.randn(2, 4, 9, 9)
    inner = block.bn2(block.conv2(block.bn1(block.conv1(x)).clamp(min=0)))
    expected = (inner + block.downsample[1](block.downsample[0](x))).clamp(min=0)
    torch.testing.assert_close(block(x), expected)
    assert block(x).shape == (2, 8, 5, 5)


def test_images_of_another_size_than_built_for():
    model = ResNet(10, 32, blocks=(1, 1, 1, 1), width=4).eval()
    assert model(torch.randn(2, 3, 20, 20)).shape == (2, 10)


def test_everything_learns():
    model = ResNet(10, blocks=(1, 1, 1, 1), width=4)
    model(torch.randn(4, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("blocks", [(5, 5, 5), (0, 1, 1, 1), ()])
def test_blocks_out_of_range_are_refused(blocks):
    with pytest.raises(EngineError, match=r"model\.blocks="):
        ResNet(10, blocks=blocks)
