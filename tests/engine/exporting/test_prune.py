"""Which weights are pruned, compared with sorting, and that they stay 0."""

import pytest
import torch
from torch import nn

from engine.common.errors import EngineError
from engine.exporting import prune
from engine.models.sprint import Sprint
from engine.optim.param_groups import build_optimizer, by_pattern


def network():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(6 * 4 * 4, 5))
    return made.to(memory_format=torch.channels_last)


def test_the_smallest_weights_of_all_layers_together_go():
    model = network()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    masks = prune.masks_of(model, "weights", 0.3)
    assert set(masks) == {"0.weight", "2.weight", "4.weight"}
    flat = torch.cat([before[name].abs().flatten() for name in masks])
    limit = flat.sort().values[round(0.3 * len(flat))]
    for name, mask in masks.items():
        assert torch.equal(mask.bool(), before[name].abs() >= limit)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    prune.apply(model, masks)
    assert prune.zeros(model, masks) == (round(0.3 * len(flat)), len(flat))


def test_whole_channels_of_the_smallest_norm_go_and_linear_layers_stay():
    model = network()
    masks = prune.masks_of(model, "channels", 0.5)
    assert set(masks) == {"0.weight", "2.weight"}
    for name, mask in masks.items():
        filters = model.get_parameter(name).detach().flatten(1)
        smallest = filters.pow(2).sum(1).argsort()[:len(filters) // 2]
        kept = torch.ones(len(filters), dtype=torch.bool)
        kept[smallest] = False
        assert torch.equal(mask.flatten(1).bool(), kept[:, None].expand(len(filters), filters.shape[1]))


def test_frozen_weights_are_not_pruned():
    assert "stem.weight" not in prune.masks_of(Sprint(10, 16), "weights", 0.5)


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_pruned_weights_stay_zero_under_each_optimiser_and_the_others_move(name):
    model = network()
    options = {"sgd": {"momentum": 0.9, "nesterov": True}, "adamw": {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8},
               "muon": {"momentum": 0.9, "nesterov": True, "muon_for": ["0", "2"], "muon_scale": "rms",
                        "rest": "sgd", "rest_momentum": 0.9}}[name]
    groups = by_pattern(model, {"*": 0.1})
    for group in groups:
        group["weight_decay"] = 0.0
    optimizer = build_optimizer(name, groups, **options)
    masks = prune.masks_of(model, "weights", 0.4)
    prune.apply(model, masks)
    prune.hold(optimizer, model, masks)
    for _ in range(3):
        before = {key: model.get_parameter(key).detach().clone() for key in masks}
        model(torch.randn(4, 3, 8, 8)).square().sum().backward()
        optimizer.step()
        for key, mask in masks.items():
            weight = model.get_parameter(key).detach()
            assert not weight[mask == 0].any()
            assert (weight != before[key])[mask == 1].all()


def test_a_share_too_small_and_a_network_without_convolutions_are_refused():
    with pytest.raises(EngineError, match="--prune=0.01 prunes nothing"):
        prune.masks_of(network(), "channels", 0.01)
    with pytest.raises(EngineError, match="no layer with such trainable weights"):
        prune.masks_of(nn.Linear(3, 2), "channels", 0.5)
