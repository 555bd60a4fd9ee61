"""The table of architectures: a name to its class. Reading the names imports neither torch nor a network."""

from __future__ import annotations

import importlib
import inspect
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from engine.common.errors import EngineError

if TYPE_CHECKING:
    from torch import nn

# name -> (module, class or function in it); that takes (classes, resolution, *, options of its own)
MODELS = {
    "baseline": ("engine.models.baseline", "Baseline"),
    "cnn": ("engine.models.cnn", "Cnn"),
    "cnn4": ("engine.models.cnn4", "Cnn4"),
    "resnet34": ("engine.models.resnet", "ResNet"),
    "sprint": ("engine.models.sprint", "Sprint"),
    "torchvision": ("engine.models.torchvision_timm", "from_torchvision"),
    "timm": ("engine.models.torchvision_timm", "from_timm"),
}


def build(name: str, classes: int, resolution: int = 32, **options: Any) -> nn.Module:
    """Build the network called `name` on torch's current default device.

    It maps float images (batch, 3, resolution, resolution), NCHW or channels_last, to logits (batch, classes).
    `options` are the network's keyword arguments (dropout, width, ...). The initial weights come from torch's
    global generator: seed it first. Under `torch.device("meta")` nothing is allocated.

    Raises EngineError for an unknown name or option, and for values the network can't be built with.
    """
    if name not in MODELS:
        raise EngineError(f"model.name={name} is not known; {_instead(name, MODELS)}")
    module, attribute = MODELS[name]
    network = getattr(importlib.import_module(module), attribute)
    allowed = [p.name for p in inspect.signature(network).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in allowed:
            raise EngineError(f"model.{option} is no setting of {name}; {_instead(option, allowed)}")
    return network(classes, resolution, **options)


def _instead(name: str, known: Any) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    listed = "known: " + ", ".join(sorted(known))
    return f"did you mean {near[0]}? {listed}" if near else listed
