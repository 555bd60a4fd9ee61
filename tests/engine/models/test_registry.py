"""What every network of the registry can do, and what is refused."""

import importlib.util
import subprocess
import sys

import pytest
import torch

from engine.common.errors import EngineError
from engine.models.registry import MODELS, build

without_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs the extra timm")
ALL = [pytest.param(name, marks=without_timm if name == "timm" else ()) for name in MODELS]
DROPOUT = ["baseline", "cnn", "cnn4", "resnet34"]
# Networks of the same kind, but small.
SMALL = {"resnet34": {"blocks": (1, 1, 1, 1), "width": 8}, "sprint": {"widths": (24, 32, 40)},
         "sprint_pairs": {"widths": (24, 32, 40), "inner": (8, 12, 16)},
         "torchvision": {"arch": "squeezenet1_1"}, "timm": {"arch": "test_resnet"}}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("resolution", [32, 40])
def test_every_network_maps_a_batch_to_logits(name, resolution):
    torch.manual_seed(0)
    model = build(name, 7, resolution, **SMALL.get(name, {})).eval()
    logits = model(torch.randn(2, 3, resolution, resolution))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_channels_last_is_kept_up_to_the_head(name):
    model = build(name, 10, **SMALL.get(name, {})).to(memory_format=torch.channels_last).eval()
    images = torch.randn(2, 3, 32, 32)
    expected = model(images)
    layouts = []
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.BatchNorm2d | torch.nn.MaxPool2d):
            module.register_forward_hook(
                lambda _, __, out: layouts.append(out.is_contiguous(memory_format=torch.channels_last))
            )
    logits = model(images.contiguous(memory_format=torch.channels_last))
    assert layouts and all(layouts)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_on_the_meta_device_nothing_is_allocated(name):
    with torch.device("meta"):
        model = build(name, 100, **SMALL.get(name, {}))
        assert model(torch.empty(4, 3, 32, 32)).shape == (4, 100)
    assert all(t.is_meta for t in model.state_dict().values())


@pytest.mark.parametrize("name", ALL)
def test_the_global_seed_decides_the_weights(name):
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(build(name, 10, **SMALL.get(name, {})).state_dict())
    first, same, other = states
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("resolution", [0, 4, -8])
def test_too_small_images_are_refused(name, resolution):
    with pytest.raises(EngineError, match=f"data.resolution={resolution} must be"):
        build(name, 10, resolution)


@pytest.mark.parametrize("name", ["baseline", "cnn4", "cnn"])
def test_networks_with_three_poolings_need_a_multiple_of_8(name):
    with pytest.raises(EngineError, match="data.resolution=36 must be a multiple of 8 px"):
        build(name, 10, 36)


@pytest.mark.parametrize("name", DROPOUT)
@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_dropout_out_of_range_is_refused(name, dropout):
    with pytest.raises(EngineError, match=r"model\.dropout="):
        build(name, 10, dropout=dropout)


@pytest.mark.parametrize("name", ALL)
def test_no_classes_are_refused(name):
    with pytest.raises(EngineError, match="model.classes=0 must be 1 or more"):
        build(name, 0)


@pytest.mark.parametrize("name", DROPOUT)
def test_dropout_reaches_the_network(name):
    with torch.device("meta"):
        model = build(name, 10, dropout=0.625)
    assert [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)] == [0.625]


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(EngineError, match="model.name=resnet35 is not known; did you mean resnet34?"):
        build("resnet35", 10)


def test_an_unknown_option_gets_the_nearest():
    with pytest.raises(EngineError, match="model.widht is not a setting of cnn; did you mean width?"):
        build("cnn", 10, widht=3)


@pytest.mark.slow("starts a process, which has not imported torch")
def test_the_names_need_no_torch():
    code = "import sys, engine.models.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
