import numpy as np
import pytest
import torch
from torch import nn

from engine.common.errors import EngineError
from engine.inference.feature_maps import feature_maps
from engine.models import registry

NETWORKS = {"baseline": {}, "cnn": {"width": 4, "depth": 3}, "cnn4": {}, "torchvision": {"arch": "resnet18"},
            "resnet34": {"width": 8, "blocks": (1, 1, 1, 1)}, "sprint": {"widths": (24, 32, 48)},
            "sprint_pairs": {"widths": (24, 32, 40), "inner": (8, 12, 16)}}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_an_early_a_middle_and_a_late_layer(name):
    torch.manual_seed(0)
    model = registry.build(name, 5, 32, **NETWORKS[name]).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = feature_maps(model, torch.randn(2, 3, 32, 32), shown=4)
    assert [maps.place for maps in found] == ["early", "middle", "late"]
    sides = [maps.maps_bchw.shape[-1] for maps in found]
    assert sides == sorted(sides, reverse=True) and sides[0] >= 16
    for maps in found:
        batch, shown, height, width = maps.maps_bchw.shape
        assert (batch, shown) == (2, 4) and height == width and maps.channels >= shown
        assert maps.maps_bchw.dtype == np.float32
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_the_maps_are_the_channels_of_the_output_that_vary_most():
    torch.manual_seed(1)
    # In place: the next layer overwrites the output, which must have been copied by then.
    first, act = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()
    model = nn.Sequential(first, act, nn.Hardtanh(0, 0.1, inplace=True), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Flatten())
    inputs = torch.randn(2, 3, 8, 8)
    early = feature_maps(model.eval(), inputs, shown=3)[0]
    expected = act(first(inputs)).detach()
    spread = expected.transpose(0, 1).flatten(1).std(1)
    best = sorted(spread.argsort(descending=True)[:3].tolist())
    assert early.layer == "1" and early.channels == 6
    assert np.allclose(early.maps_bchw, expected[:, best].numpy(), atol=1e-6)


def test_a_network_without_activations_shows_its_other_layers():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.LazyLinear(2))
    found = feature_maps(model.eval(), torch.randn(1, 3, 8, 8))
    assert [(maps.layer, maps.place) for maps in found] == [("0", "early")]


def test_a_network_without_positions_is_refused():
    with pytest.raises(EngineError, match="no layer of Sequential"):
        feature_maps(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).eval(), torch.randn(1, 3, 8, 8))
