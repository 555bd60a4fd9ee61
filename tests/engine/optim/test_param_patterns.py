"""Patterns that name parameters, and the messages about those that name none."""

import pytest
from torch import nn

from engine.optim.param_patterns import matches, nothing_among, nothing_for


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("layer1", "layer1.0.weight", True),
        ("layer1", "layer10.weight", False),
        ("layer1.0", "layer1.0.weight", True),
        ("fc.weight", "fc.weight", True),
        ("fc.w", "fc.weight", False),
        ("*", "layer1.0.weight", True),
        ("*.bias", "layer1.1.bias", True),
        ("*.bias", "bias", False),
        ("layer?.*", "layer1.0.weight", True),
        ("layer?.*", "layer10.weight", False),
        ("LAYER1", "layer1.0.weight", False),
    ],
)
def test_what_a_pattern_matches(pattern, name, expected):
    assert matches(pattern, name) is expected


def test_the_message_about_a_pattern_without_parameters_in_a_network():
    net = nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Linear(2, 2).requires_grad_(False)})
    assert nothing_for("bodi", net) == "pattern bodi matches no parameter of the network; did you mean body?"
    assert nothing_for("zzz", net) == "pattern zzz matches no parameter of the network; its parts: body, head"
    assert nothing_for("head", net).startswith("pattern head matches only frozen parameters; unfreeze them")
    assert nothing_for("body", net).startswith("pattern body is left without parameters: earlier patterns match all")


def test_the_message_about_a_pattern_without_parameters_among_names():
    names = ["layer1.0.weight", "layer1.1.bias", "fc.weight"]
    said = "pattern {} matches none of the parameters that train; {}"
    assert nothing_among("layer1.2", names) == said.format("layer1.2", "did you mean layer1.1?")
    assert nothing_among("laier1", names) == said.format("laier1", "did you mean layer1?")
    assert nothing_among("zzz", names) == said.format("zzz", "they lie in layer1, fc")
