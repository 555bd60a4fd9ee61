"""The registry of architectures. Importing it loads neither torch nor a network."""

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from engine.common.errors import EngineError
from engine.common.text import known_names

if TYPE_CHECKING:
    from torch import nn

# name -> (module, its class or function that takes (classes, resolution, *, options))
MODELS = {
    "baseline": ("engine.models.baseline", "Baseline"),
    "cnn": ("engine.models.cnn", "Cnn"),
    "cnn4": ("engine.models.cnn4", "Cnn4"),
    "resnet34": ("engine.models.resnet", "ResNet"),
    "sprint": ("engine.models.sprint", "Sprint"),
    "sprint_pairs": ("engine.models.sprint_pairs", "SprintPairs"),
    "torchvision": ("engine.models.torchvision_timm", "from_torchvision"),
    "timm": ("engine.models.torchvision_timm", "from_timm"),
}


def build(name: str, classes: int, resolution: int = 32, **options: Any) -> "nn.Module":
    """Build the network called `name` on torch's current default device.

    It maps float images (batch, 3, resolution, resolution), NCHW or channels_last, to logits (batch, classes).
    `options` are the network's keyword arguments (dropout, width, ...). The initial weights are drawn from torch's
    global generator: seed it first. Under `torch.device("meta")` nothing is allocated. Raises EngineError for an
    unknown name or option, and for values that the network refuses.
    """
    if name not in MODELS:
        raise EngineError(f"model.name={name} is not known; {known_names(name, sorted(MODELS))}")
    module, attribute = MODELS[name]
    network = getattr(importlib.import_module(module), attribute)
    allowed = sorted(p.name for p in inspect.signature(network).parameters.values() if p.kind is p.KEYWORD_ONLY)
    for option in options:
        if option not in allowed:
            raise EngineError(f"model.{option} is not a setting of {name}; {known_names(option, allowed)}")
    return network(classes, resolution, **options)
