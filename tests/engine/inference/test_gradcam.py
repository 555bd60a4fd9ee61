import importlib.util

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.common.errors import EngineError
from engine.inference.gradcam import heatmaps, last_feature_map, overlays, way_to_bchw
from engine.inference.trained import open_trained
from engine.models import registry
from tests.engine.colours import COLOURS, colours_run

pytest.importorskip("pytorch_grad_cam")
has_timm = importlib.util.find_spec("timm") is not None

NETWORKS = {
    "baseline": ({}, "features.10"),
    "cnn": ({"width": 8}, "features.19"),
    "cnn4": ({}, "features.13"),
    "resnet34": ({"blocks": (1, 1, 1, 1), "width": 8}, "layer4"),
    "sprint": ({"widths": (24, 24, 24)}, "groups"),
    "sprint_pairs": ({"widths": (24, 24, 24), "inner": (8, 8, 8)}, "groups"),
    "torchvision": ({"arch": "resnet18", "stem": "small"}, "layer4"),
    "timm": ({"arch": "test_vit"}, None),
}


def test_every_architecture_is_tried():
    assert set(NETWORKS) == set(registry.MODELS)


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.slow("imports a library of large networks")) if name in ("torchvision", "timm")
    else name for name in NETWORKS])
def test_every_network_has_a_map(name):
    if name == "timm" and not has_timm:
        pytest.skip("needs the extra timm")
    options, expected = NETWORKS[name]
    torch.manual_seed(0)
    side_px = 160 if name == "timm" else 32
    model = registry.build(name, 7, side_px, **options).eval().requires_grad_(False)
    images = torch.randn(2, 3, side_px, side_px)
    layer, way = last_feature_map(model, images[:1])
    found = next(key for key, module in model.named_modules() if module is layer)
    assert expected in (None, found)
    assert way(images) is images if name != "timm" else way(torch.zeros(1, 101, 5)).shape == (1, 5, 10, 10)
    before = model(images)
    maps_bhw = heatmaps(model, images, [1, 6])
    assert maps_bhw.shape == (2, side_px, side_px) and maps_bhw.dtype == np.float32
    assert maps_bhw.min() >= 0 and maps_bhw.max() <= 1 and maps_bhw.max() > 0.5
    assert torch.equal(model(images), before) and not any(module._forward_hooks for module in model.modules())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return open_trained(str(colours_run(tmp_path_factory.mktemp("run") / "colours")), device="cpu")


def test_a_map_follows_the_papers_formula(trained):
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    inputs = trained.to_input(torch.from_numpy(images))
    targets = [0, 2, 5]
    layer, way = last_feature_map(trained.model, inputs[:1])
    place = list(trained.model.features).index(layer) + 1
    features = trained.model.features[:place](inputs).requires_grad_()
    logits = trained.model.head(trained.model.features[place:](features))
    gradient, = torch.autograd.grad(logits[range(3), targets].sum(), features)
    maps = (gradient.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).relu().detach()
    maps = F.interpolate(maps, 16, mode="bilinear")[:, 0]
    lowest, highest = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    expected = ((maps - lowest) / (highest - lowest)).numpy()
    assert way(features) is features
    assert heatmaps(trained.model, inputs, targets) == pytest.approx(expected, abs=1e-4)


def test_red_lies_where_the_red_is(trained):
    images = np.zeros((2, 16, 16, 3), np.uint8)
    images[0, 8:, 8:] = images[1, :8, :8] = (255, 0, 0)
    red = list(COLOURS).index("red")
    drawn = overlays(trained, images, [red, red])
    assert drawn.shape == images.shape and drawn.dtype == np.uint8
    warmth = drawn[..., 0].astype(int) - drawn[..., 2]
    assert (warmth[0, 10:, 10:] > 0).all() and (warmth[0, :6] < 0).all()
    assert (warmth[1, :6, :6] > 0).all() and (warmth[1, 10:] < 0).all()


def test_without_targets_the_predicted_classes_are_shown(trained):
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    predicted = trained.logits(torch.from_numpy(images)).argmax(1).tolist()
    assert np.array_equal(overlays(trained, images), overlays(trained, images, predicted))


def test_targets_are_one_class_per_image(trained):
    with pytest.raises(ValueError, match="1 targets for 2 images"):
        overlays(trained, np.zeros((2, 16, 16, 3), np.uint8), [0])


def test_a_network_without_positions_is_refused():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    with pytest.raises(EngineError, match="no feature map with positions in Sequential"):
        heatmaps(model, torch.randn(1, 3, 2, 2))


class Twice(torch.nn.Module):
    """Its activation runs twice, and last: the maps of both runs would be taken for one another."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.act = torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 4, 1), torch.nn.ReLU()
        self.head = torch.nn.Linear(4, 3)

    def forward(self, images):
        return self.head(self.act(self.second(self.act(self.first(images)))).mean((2, 3)))


def test_a_module_that_runs_twice_is_left_out():
    torch.manual_seed(0)
    model = Twice().eval()
    assert last_feature_map(model, torch.randn(1, 3, 4, 4))[0] is model.second


def test_layouts_become_bchw():
    bchw = torch.arange(2 * 5 * 4 * 4.).view(2, 5, 4, 4)
    bhwc, tokens = bchw.permute(0, 2, 3, 1), bchw.flatten(2).transpose(1, 2)
    for output in (bchw, bhwc, tokens, torch.cat([torch.zeros(2, 1, 5), tokens], 1)):
        assert torch.equal(way_to_bchw(output.shape)(output), bchw)
    for shape in ((2, 5), (2, 5, 1, 1), (2, 5, 4, 3), (2, 3, 5), (2, 15, 5)):
        assert way_to_bchw(shape) is None
