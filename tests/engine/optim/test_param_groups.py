"""Groups of parameters, and the optimisers over them against their formulas."""

import copy

import pytest
import torch
from torch import nn
from torch.utils._foreach_utils import _get_fused_kernels_supported_devices

from engine.common.errors import EngineError
from engine.optim.muon import Muon
from engine.optim.optimizer_list import OptimizerList
from engine.optim.param_groups import FUSED_DEVICES, build_optimizer, by_pattern, split_decay, split_muon


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        self.layer10 = nn.Conv2d(16, 4, 3, padding=1)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.layer10(self.layer1(self.bn(self.conv(x))).relu()).mean((2, 3)))


def names(group):
    return [name for name, _ in group["params"]]


def everything(model, lr=0.1, weight_decay=0.0):
    return split_decay(by_pattern(model, {"*": lr}), weight_decay, decay_all=True)


def test_each_parameter_goes_to_its_first_pattern():
    groups = by_pattern(Net(), {"layer1": 0.1, "*.bias": 0.2, "*": 0.4})
    assert [(g["pattern"], g["lr"], g["lr_scale"]) for g in groups] == [
        ("layer1", 0.1, 0.25), ("*.bias", 0.2, 0.5), ("*", 0.4, 1.0),
    ]
    assert names(groups[0]) == ["layer1.0.weight", "layer1.1.weight", "layer1.1.bias"]
    assert names(groups[1]) == ["conv.bias", "bn.bias", "layer10.bias", "fc.bias"]
    assert names(groups[2]) == ["conv.weight", "bn.weight", "layer10.weight", "fc.weight"]


def test_frozen_parameters_are_in_no_group():
    model = Net()
    model.requires_grad_(False)
    model.fc.requires_grad_(True)
    (group,) = by_pattern(model, {"fc": 0.1})
    assert [p for _, p in group["params"]] == [model.fc.weight, model.fc.bias]


@pytest.mark.parametrize(
    ("lrs", "message"),
    [
        ({}, r"no pattern was given: `\*` takes every parameter"),
        ({"laier1": 0.1, "*": 0.1}, "pattern laier1 matches no parameter of the network; did you mean layer1?"),
        ({"zzz": 0.1, "*": 0.1}, "pattern zzz matches no parameter of the network; its parts: conv, bn, layer1"),
        ({"*": 0.1, "fc": 0.2}, "pattern fc is left without parameters: earlier patterns"),
        ({"conv": 0.1, "layer1": 0.1}, r"6 parameters match no pattern, the first bn.weight; patterns: conv, layer1"),
        ({"*": 0.0}, r"learning rate 0.0 of pattern \* must be above 0"),
        ({"*": float("nan")}, r"learning rate nan of pattern \*"),
        ({"*": float("inf")}, r"learning rate inf of pattern \* must be above 0 and finite"),
    ],
)
def test_wrong_patterns_are_refused(lrs, message):
    with pytest.raises(EngineError, match=message):
        by_pattern(Net(), lrs)


def test_a_pattern_of_frozen_parameters_is_refused():
    model = Net()
    model.conv.requires_grad_(False)
    with pytest.raises(EngineError, match="pattern conv matches only frozen parameters"):
        by_pattern(model, {"conv": 0.1, "*": 0.1})


def test_decay_on_everything_or_on_matrices_only():
    groups = by_pattern(Net(), {"layer1": 0.1, "*": 0.2})
    assert [g["weight_decay"] for g in split_decay(groups, 0.5, decay_all=True)] == [0.5, 0.5]
    split = split_decay(groups, 0.5, decay_all=False)
    assert [(g["pattern"], g["lr"], g["weight_decay"]) for g in split] == [
        ("layer1", 0.1, 0.5), ("layer1", 0.1, 0.0), ("*", 0.2, 0.5), ("*", 0.2, 0.0),
    ]
    assert names(split[0]) == ["layer1.0.weight"]
    assert names(split[1]) == ["layer1.1.weight", "layer1.1.bias"]
    assert names(split[2]) == ["conv.weight", "layer10.weight", "fc.weight"]
    assert len(names(split[3])) == 5
    assert len(groups) == 2 and "weight_decay" not in groups[0]


def test_a_group_without_matrices_stays_one():
    groups = by_pattern(Net(), {"bn": 0.1, "*": 0.1})
    assert [g["weight_decay"] for g in split_decay(groups, 0.5, decay_all=False)] == [0.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("decay", "decay_all", "message"),
    [
        (-1e-4, True, "optim.weight_decay=-0.0001 must be 0 or more"),
        (float("nan"), True, "optim.weight_decay=nan"),
        (float("inf"), True, "optim.weight_decay=inf must be 0 or more and finite"),
        (0, False, "optim.decay_all=false has no effect with optim.weight_decay=0: leave one of them out"),
    ],
)
def test_senseless_decay_is_refused(decay, decay_all, message):
    with pytest.raises(EngineError, match=message):
        split_decay(by_pattern(Net(), {"*": 0.1}), decay, decay_all)


def plain_sgd(w, grads, lr, momentum, decay, nesterov):
    buffer = None
    for grad in grads:
        grad = grad + decay * w
        buffer = grad if buffer is None else momentum * buffer + grad
        w = w - lr * (grad + momentum * buffer if nesterov else buffer)
    return w


def plain_adam(w, grads, lr, beta1, beta2, eps, decay, decoupled):
    mean = square = 0
    for t, grad in enumerate(grads, start=1):
        if decoupled:
            w = w - lr * decay * w
        else:
            grad = grad + decay * w
        mean, square = beta1 * mean + (1 - beta1) * grad, beta2 * square + (1 - beta2) * grad**2
        w = w - lr * (mean / (1 - beta1**t)) / ((square / (1 - beta2**t)).sqrt() + eps)
    return w


@pytest.mark.parametrize(
    ("name", "settings", "plain"),
    [
        ("sgd", {}, lambda w, g: plain_sgd(w, g, 0.1, 0.0, 0.01, False)),
        ("sgd", {"momentum": 0.9}, lambda w, g: plain_sgd(w, g, 0.1, 0.9, 0.01, False)),
        ("sgd", {"momentum": 0.9, "nesterov": True}, lambda w, g: plain_sgd(w, g, 0.1, 0.9, 0.01, True)),
        ("adam", {}, lambda w, g: plain_adam(w, g, 0.1, 0.9, 0.999, 1e-8, 0.01, False)),
        ("adam", {"beta1": 0.8, "beta2": 0.9, "eps": 1e-3},
         lambda w, g: plain_adam(w, g, 0.1, 0.8, 0.9, 1e-3, 0.01, False)),
        ("adamw", {"beta2": 0.99}, lambda w, g: plain_adam(w, g, 0.1, 0.9, 0.99, 1e-8, 0.01, True)),
    ],
)
def test_updates_equal_the_formulas(name, settings, plain):
    torch.manual_seed(0)
    layer = nn.Linear(3, 4, bias=False, dtype=torch.float64)
    start, grads = layer.weight.detach().clone(), [torch.randn(4, 3, dtype=torch.float64) for _ in range(5)]
    optimizer = build_optimizer(name, everything(layer, 0.1, 0.01), **settings)
    for grad in grads:
        layer.weight.grad = grad
        optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), plain(start, grads), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_each_group_has_its_rate_and_decay(name):
    split = split_decay(by_pattern(Net(), {"fc": 0.5, "*": 0.1}), 0.2, decay_all=False)
    optimizer = build_optimizer(name, split)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (0.5, 0.2), (0.5, 0.0), (0.1, 0.2), (0.1, 0.0),
    ]
    assert optimizer.param_groups[0]["param_names"] == ["fc.weight"]


def test_decay_by_the_step_is_the_same_share_of_every_group_at_its_highest_rate():
    groups = by_pattern(Net(), {"fc": 0.5, "*": 0.1})
    split = split_decay(groups, 4e-3, decay_all=True, decay_per="step")
    assert [g["lr"] * g["weight_decay"] for g in split] == pytest.approx([4e-3, 4e-3])
    by_weight = split_decay(groups, 4e-3, decay_all=False, decay_per="step")
    assert [g["lr"] * g["weight_decay"] for g in by_weight] == pytest.approx([4e-3, 0, 4e-3, 0])
    # One step without a gradient takes just that off the weights, whatever their group's rate.
    for name, settings in (("sgd", {"momentum": 0.85, "nesterov": False}), ("adamw", {})):
        model = Net()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer = build_optimizer(name, split_decay(by_pattern(model, {"fc": 0.5, "*": 0.1}), 4e-3, True, "step"),
                                    **settings)
        for group in optimizer.param_groups:
            group["lr"] = 0.5 * group["lr_scale"]
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.detach(), (1 - 4e-3) * before[name])
    with pytest.raises(EngineError, match="optim.decay_per=epoch must be one of rate, step"):
        split_decay(groups, 4e-3, decay_all=True, decay_per="epoch")


def test_muon_iterates_as_often_as_asked_for():
    both = build_optimizer("muon", everything(Net()), rest="sgd", muon_for=("conv", "layer1"), muon_iterations=3)
    assert isinstance(both, OptimizerList) and both.optimizers[0].param_groups[0]["iterations"] == 3
    assert build_optimizer("muon", everything(nn.Linear(3, 4, bias=False))).param_groups[0]["iterations"] == 5


def test_fused_where_there_are_fused_kernels():
    assert build_optimizer("sgd", everything(Net())).defaults["fused"] is True
    with torch.device("meta"):
        assert build_optimizer("sgd", everything(Net())).defaults["fused"] is None
    assert set(FUSED_DEVICES) <= set(_get_fused_kernels_supported_devices()) and {"cpu", "cuda"} <= set(FUSED_DEVICES)


@pytest.mark.parametrize(("name", "settings"), [("sgd", {"momentum": 0.9, "nesterov": True}), ("adam", {})])
def test_fused_updates_of_a_channels_last_network_are_the_plain_ones(name, settings):
    torch.manual_seed(0)
    fused_net = Net().to(memory_format=torch.channels_last)
    # The norm cancels this bias: its gradient is rounding errors, which Adam would amplify.
    fused_net.conv.bias.requires_grad_(False)
    plain_net = copy.deepcopy(fused_net)
    fused = build_optimizer(name, everything(fused_net, 0.01), **settings)
    plain = build_optimizer(name, everything(plain_net, 0.01), **settings)
    plain.param_groups[0]["fused"] = False
    images = torch.randn(4, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    for _ in range(4):
        for model, optimizer in ((fused_net, fused), (plain_net, plain)):
            optimizer.zero_grad()
            model(images).square().mean().backward()
            optimizer.step()
    for ours, theirs in zip(fused_net.parameters(), plain_net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "settings"), [("sgd", {"momentum": 0.9}), ("adamw", {})])
def test_state_of_another_layout_is_loaded_correctly(name, settings):
    torch.manual_seed(0)
    nets = [Net(), Net().to(memory_format=torch.channels_last)]
    nets[1].load_state_dict(nets[0].state_dict())
    gradients = {key: torch.randn_like(p) for key, p in nets[0].named_parameters()}
    optimizers = [build_optimizer(name, everything(net, 0.1), **settings) for net in nets]

    def step(net, optimizer):
        for key, p in net.named_parameters():
            p.grad = torch.empty_like(p).copy_(gradients[key])
        optimizer.step()

    for net, optimizer in zip(nets, optimizers, strict=True):
        step(net, optimizer)
    # Loading keeps the given tensors where it can, so give it a copy, as a checkpoint does.
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    for net, optimizer in zip(nets, optimizers, strict=True):
        step(net, optimizer)
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("muonn", {}, "optim.name=muonn must be one of sgd, adam, adamw, muon"),
        ("adam", {"nesterov": True}, "optim.nesterov is not a setting of adam, which has beta1, beta2, eps"),
        ("sgd", {"beta2": 0.9}, "optim.beta2 is not a setting of sgd, which has momentum, nesterov"),
        ("sgd", {"momentum": 1.0}, "optim.momentum=1.0 must be at least 0 and below 1"),
        ("sgd", {"nesterov": True}, "optim.nesterov=true needs optim.momentum above 0"),
        ("adam", {"beta1": -0.1}, "optim.beta1=-0.1"),
        ("adam", {"beta2": 1.0}, "optim.beta2=1.0 must be at least 0 and below 1"),
        ("adamw", {"eps": 0.0}, "optim.eps=0.0 must be above 0"),
        ("adamw", {"muon_for": ("*",)}, "optim.muon_for is not a setting of adamw, which has beta1, beta2, eps"),
        ("muon", {"rest": "adam"}, "optim.rest=adam must be one of sgd, adamw"),
        ("muon", {"rest_momentum": 0.9}, "optim.rest_momentum is not a setting of muon beside adamw, which has "
         "momentum, nesterov, muon_for, muon_scale, muon_iterations, rest, beta1, beta2, eps"),
        ("muon", {"rest": "sgd", "beta1": 0.9}, "optim.beta1 is not a setting of muon beside sgd, which has .* rest_"),
        ("muon", {"rest": "sgd", "rest_momentum": 1.0}, "optim.rest_momentum=1.0 must be at least 0 and below 1"),
        ("muon", {"momentum": 0.0, "nesterov": True}, "optim.nesterov=true needs optim.momentum above 0"),
        ("muon", {"muon_scale": "big"}, "optim.muon_scale=big must be one of rms, shape, unit"),
        ("muon", {"muon_for": ()}, r"optim.muon_for is empty: name the weights for Muon \(`\*` takes all\)"),
        ("muon", {"muon_for": ("conv", "laier1")}, "optim.muon_for: pattern laier1 matches none of the parameters that "
         "train; did you mean layer1?"),
        ("muon", {"muon_for": ("conv", "bn")}, "optim.muon_for: pattern bn matches no weight of two or more "
         "dimensions, only such as bn.weight; leave it out"),
    ],
)
def test_wrong_settings_are_refused(name, settings, message):
    with pytest.raises(EngineError, match=message):
        build_optimizer(name, everything(Net()), **settings)


def test_muon_takes_the_matrices_that_match():
    groups = split_decay(by_pattern(Net(), {"layer1": 0.5, "*": 0.1}), 0.2, decay_all=False)
    muon, rest = split_muon(groups, ("layer1", "conv.*"))
    assert [(names(g), g["pattern"], g["lr"], g["lr_scale"], g["weight_decay"]) for g in muon] == [
        (["layer1.0.weight"], "layer1", 0.5, 1.0, 0.2), (["conv.weight"], "*", 0.1, 0.2, 0.2),
    ]
    assert [(names(g), g["pattern"], g["lr"], g["lr_scale"], g["weight_decay"]) for g in rest] == [
        (["layer1.1.weight", "layer1.1.bias"], "layer1", 0.5, 1.0, 0.0),
        (["layer10.weight", "fc.weight"], "*", 0.1, 0.2, 0.2),
        (["conv.bias", "bn.weight", "bn.bias", "layer10.bias", "fc.bias"], "*", 0.1, 0.2, 0.0),
    ]


@pytest.mark.parametrize(
    ("settings", "rest_class", "expected"),
    [
        ({}, torch.optim.AdamW, {"betas": (0.9, 0.999), "eps": 1e-8}),
        ({"beta1": 0.8, "eps": 1e-6}, torch.optim.AdamW, {"betas": (0.8, 0.999), "eps": 1e-6}),
        ({"rest": "sgd"}, torch.optim.SGD, {"momentum": 0.0, "nesterov": False}),
        ({"rest": "sgd", "rest_momentum": 0.7}, torch.optim.SGD, {"momentum": 0.7, "nesterov": True}),
    ],
)
def test_muon_is_built_together_with_the_rests_optimizer(settings, rest_class, expected):
    optimizer = build_optimizer("muon", everything(Net(), 0.3, 0.1), muon_for=["conv", "layer1"], muon_scale="shape",
                                momentum=0.6, nesterov=False, **settings)
    assert isinstance(optimizer, OptimizerList)
    muon, rest = optimizer.optimizers
    assert (type(muon), type(rest)) == (Muon, rest_class)
    assert {key: muon.param_groups[0][key] for key in ("lr", "lr_scale", "weight_decay", "momentum", "nesterov",
                                                       "scale", "param_names")} == {
        "lr": 0.3, "lr_scale": 1.0, "weight_decay": 0.1, "momentum": 0.6, "nesterov": False, "scale": "shape",
        "param_names": ["conv.weight", "layer1.0.weight"],
    }
    group = rest.param_groups[0]
    assert (group["lr"], group["lr_scale"], group["weight_decay"], group["fused"]) == (0.3, 1.0, 0.1, True)
    assert {key: group[key] for key in expected} == expected


def test_muon_alone_where_nothing_is_left():
    optimizer = build_optimizer("muon", everything(nn.Sequential(nn.Linear(3, 4, bias=False))), nesterov=True)
    assert type(optimizer) is Muon
    assert (optimizer.param_groups[0]["momentum"], optimizer.param_groups[0]["nesterov"]) == (0.95, True)


def test_weights_of_unit_norm_do_not_decay_and_the_rest_does():
    optimizer = build_optimizer("muon", everything(Net(), 0.1, 0.2), muon_scale="unit")
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.0, 0.2]
    optimizer = build_optimizer("muon", everything(Net(), 0.1, 0.0), muon_scale="unit")
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.0, 0.0]
    with pytest.raises(EngineError, match="optim.weight_decay has no effect with optim.muon_scale=unit, which "
                       "sets the norms of all weights that would decay: make it 0"):
        build_optimizer("muon", split_decay(by_pattern(Net(), {"*": 0.1}), 0.2, decay_all=False), muon_scale="unit")


def test_a_network_learns_by_muon_and_the_rest_and_continues_in_another_layout():
    torch.manual_seed(0)
    nets = [Net(), Net().to(memory_format=torch.channels_last)]
    images, targets = torch.randn(16, 3, 8, 8), torch.randn(16, 5)

    def trained(net, optimizer, steps):
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = (net(images) - targets).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    optimizers = [build_optimizer("muon", everything(net, 0.02)) for net in nets]
    losses = trained(nets[0], optimizers[0], 8)
    assert losses[-1] < 0.8 * losses[0]
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    for parameter in nets[1].parameters():
        for value in optimizers[1].optimizers[0].state.get(parameter, {}).values():
            assert value.stride() == parameter.stride()
    # The same state in other memory: equal but for the order of sums, which bf16 iterations make visible.
    assert trained(nets[0], optimizers[0], 3) == pytest.approx(trained(nets[1], optimizers[1], 3), rel=0.01)
