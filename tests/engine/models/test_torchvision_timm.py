"""Networks of torchvision and timm: theirs, for our classes, at our size."""

import functools
import math
import socket
import sys

import pytest
import torch
import torchvision
from torch import nn

from engine.common.errors import EngineError
from engine.models.flops import parameters
from engine.models.torchvision_timm import from_timm, from_torchvision


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("a network was asked for over the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@functools.cache
def on_meta(arch):
    """torchvision's network for 7 classes at 64 px on the meta device, for tests that only read it."""
    with torch.device("meta"):
        return from_torchvision(7, 64, arch=arch)


def shapes_of(model, resolution, *names):
    """Output shapes of the modules `names` for one image."""
    shapes = {}
    for name in names:
        model.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
    model.eval()(torch.empty(1, 3, resolution, resolution))
    return shapes


def test_resnet50_of_the_progressive_fine_tuning():
    with torch.device("meta"):
        model = from_torchvision(100, 224)
        assert shapes_of(model, 224, "layer4") == {"layer4": (2048, 7, 7)}
    assert type(model) is torchvision.models.ResNet
    assert parameters(model) == (23_712_932, 23_712_932)
    names = dict(model.named_parameters())
    assert {"conv1.weight", "layer3.0.conv1.weight", "layer4.2.bn3.bias", "fc.weight", "fc.bias"} <= set(names)
    assert names["fc.weight"].shape == (100, 2048)


def test_weights_start_as_torchvision_starts_them():
    torch.manual_seed(3)
    model = from_torchvision(10, arch="shufflenet_v2_x0_5")
    torch.manual_seed(3)
    expected = torchvision.models.shufflenet_v2_x0_5(num_classes=10).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    assert all(m.training for m in model.modules())


@pytest.mark.parametrize("arch", [
    "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "mnasnet0_5", "mobilenet_v3_small",
    "regnet_y_400mf", "squeezenet1_1", "swin_t", "vgg11", "vit_b_16",
])
def test_heads_of_every_family(arch):
    model = on_meta(arch)
    assert model(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 7)
    assert all(tensor.is_meta for tensor in model.state_dict().values())


def test_auxiliary_heads_are_left_out():
    with torch.device("meta"):
        networks = on_meta("googlenet"), from_torchvision(7, 96, arch="inception_v3")
    for names in (list(dict(network.named_parameters())) for network in networks):
        assert names and not [name for name in names if "aux" in name.lower()]


def test_vision_transformers_are_built_for_their_size():
    with torch.device("meta"):
        assert from_torchvision(7, 48, arch="vit_b_16").encoder.pos_embedding.shape == (1, 1 + 9, 768)


def test_small_stem_of_a_resnet():
    with torch.device("meta"):
        model = from_torchvision(10, 32, arch="resnet18", stem="small")
        shapes = shapes_of(model, 32, "conv1", "maxpool", "layer1", "layer4")
    assert shapes == {"conv1": (64, 32, 32), "maxpool": (64, 32, 32), "layer1": (64, 32, 32), "layer4": (512, 4, 4)}
    assert parameters(model)[0] == 11_173_962
    assert model.conv1.bias is None


def test_small_stem_starts_as_kaiming_fan_out():
    torch.manual_seed(0)
    weight = from_torchvision(10, 32, arch="resnet18", stem="small").conv1.weight
    expected = math.sqrt(2 / (64 * 9))
    assert abs(weight.std().item() / expected - 1) < 5 / math.sqrt(2 * weight.numel())


@pytest.mark.parametrize(
    ("arch", "first", "pool", "later"),
    [
        ("densenet121", "features.conv0", "features.pool0", "features.denseblock1"),
        ("googlenet", "conv1.conv", "maxpool1", "conv3"),
        ("squeezenet1_0", "features.0", "features.2", "features.5"),
        ("shufflenet_v2_x0_5", "conv1.0", "maxpool", "maxpool"),
        ("efficientnet_b0", "features.0.0", None, "features.1"),
    ],
)
def test_small_stems_keep_the_size(arch, first, pool, later):
    with torch.device("meta"):
        own, small = on_meta(arch), from_torchvision(7, 64, arch=arch, stem="small")
        assert shapes_of(small, 64, later)[later][1:] == (64, 64)
    before, after = own.get_submodule(first), small.get_submodule(first)
    assert (after.kernel_size, after.stride, after.padding) == ((3, 3), (1, 1), (1, 1))
    assert (after.out_channels, after.bias is None) == (before.out_channels, before.bias is None)
    changed = {name for name, module in small.named_modules() if isinstance(module, nn.Identity)
               and not isinstance(own.get_submodule(name), nn.Identity)}
    assert changed == ({pool} if pool else set())


def test_a_small_stem_s_bias_starts_at_zero():
    assert not from_torchvision(10, 32, arch="squeezenet1_1", stem="small").features[0].bias.any()


@pytest.mark.parametrize(
    ("arch", "stride"), [("vgg11", 1), ("vit_b_16", 16), ("swin_t", 4), ("convnext_tiny", 4), ("alexnet", 4)]
)
def test_stems_that_have_no_small_form_are_refused(arch, stride):
    message = f"^model.stem=small replaces .* that of {arch} is a Conv2d of stride {stride}: leave .*[^\n]$"
    with pytest.raises(EngineError, match=message), torch.device("meta"):
        from_torchvision(10, 64, arch=arch, stem="small")


@pytest.mark.parametrize(("arch", "resolution"), [("inception_v3", 32), ("vit_b_16", 40), ("maxvit_t", 64)])
def test_sizes_that_a_network_cannot_take_are_refused(arch, resolution):
    with pytest.raises(EngineError) as caught, torch.device("meta"):
        from_torchvision(10, resolution, arch=arch)
    message = f"data.resolution={resolution} does not suit model.arch={arch} with model.stem=own ("
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "resnet51"}, "model.arch=resnet51 is not one of torchvision's .* networks; did you mean resnet50,"),
        ({"arch": "zzz"}, r"model.arch=zzz is not one of .*; torchvision.models.list_models\(\) names them"),
        ({"arch": "fcn_resnet50"}, "model.arch=fcn_resnet50 is not one of"),
        ({"stem": "tiny"}, "model.stem=tiny must be one of own, small"),
    ],
)
def test_unknown_values_are_refused(options, message):
    with pytest.raises(EngineError, match=message):
        from_torchvision(10, **options)


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(EngineError, match=r"=timm needs the timm package: pip install 'cadence-train\[timm\]'"):
        from_timm(10)


@pytest.fixture
def timm():
    return pytest.importorskip("timm")


def test_timm_s_own_network_for_our_classes(timm):
    torch.manual_seed(3)
    model = from_timm(7, arch="test_efficientnet")
    torch.manual_seed(3)
    expected = timm.create_model("test_efficientnet", num_classes=7).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_timm_s_transformers_are_built_for_their_size(timm):
    with torch.device("meta"):
        model = from_timm(7, 48, arch="vit_tiny_patch16_224")
        assert model(torch.empty(2, 3, 48, 48)).shape == (2, 7)
    assert model.pos_embed.shape == (1, 1 + 9, 192)


@pytest.mark.parametrize(
    ("arch", "later", "pool"), [("resnet50d", "layer1", "maxpool"), ("tf_mobilenetv3_small_minimal_100", "bn1", None)]
)
def test_small_stems_of_timm(timm, arch, later, pool):
    with torch.device("meta"):
        model = from_timm(10, 32, arch=arch, stem="small")
        assert shapes_of(model, 32, later)[later][1:] == (32, 32)
    assert pool is None or isinstance(model.get_submodule(pool), nn.Identity)


def test_weight_standardised_stems_are_not_replaced(timm):
    with pytest.raises(EngineError, match="that of nf_resnet26 is a ScaledStdConv2d of stride 2"), torch.device("meta"):
        from_timm(10, 32, arch="nf_resnet26", stem="small")


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("resnt", "model.arch=resnt is not one of timm's .* networks; did you mean resnet"),
        ("resnet50.a1_in1k", "names weights too: give model.arch=resnet50 and model.weights=a1_in1k"),
        ("hf-hub:timm/resnet50", "model.arch=hf-hub:timm/resnet50 is not one of"),
    ],
)
def test_names_that_timm_does_not_have_are_refused(timm, arch, message):
    with pytest.raises(EngineError, match=message):
        from_timm(10, arch=arch)
