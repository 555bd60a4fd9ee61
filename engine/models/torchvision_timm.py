"""Any classification network of torchvision or timm, by its name there, with the data's number of classes.

    model.name=torchvision  model.arch=resnet50                        at 224 px
    model.name=timm         model.arch=resnet50    model.stem=small    at 32 px

The library's module is returned without a wrapper: parameters keep their names (`layer3.0.conv1.weight`, `fc.bias`)
and the library's initial values. Nothing is downloaded. torchvision's resnet50 has 23,712,932 parameters at 100
classes.

The small stem is that of the CIFAR ResNets (He et al. 2016, section 4.2): the first convolution becomes 3x3 without
stride and starts as Kaiming fan-out, and the max-pool at the stem's end is removed.
"""

import copy
from collections.abc import Callable, Collection
from functools import partial

import torch
from torch import nn
from torchvision import models

from engine.common.errors import EngineError, check, check_one_of
from engine.common.optional import import_extra
from engine.models.conv_stack import start_kaiming
from loaders.common.text import did_you_mean

# The libraries' exceptions for sizes that a network cannot take.
REFUSALS = (RuntimeError, ValueError, TypeError, AssertionError, IndexError, ZeroDivisionError)


def from_torchvision(classes: int, resolution: int = 32, *, arch: str = "resnet50", stem: str = "own") -> nn.Module:
    """torchvision's network `arch`: images (batch, 3, resolution, resolution) float to logits (batch, classes).

    Vision transformers and MaxViT take `resolution` only; the others also other sizes. GoogLeNet and Inception have no
    auxiliary heads. Random: the initial weights, from torch's global generator, and the network's dropout in training.
    Raises EngineError for an unknown arch or stem, a stem without a small form, and a size that the network refuses.
    """
    _check("torchvision", models.list_models(module=models), classes, resolution, arch, stem)
    options: dict[str, object] = {"weights": None, "num_classes": classes}
    if arch.startswith("vit_"):
        options["image_size"] = resolution
    elif arch.startswith("maxvit_"):
        options["input_size"] = (resolution, resolution)
    elif arch in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True}
    return _network(partial(models.get_model, arch, **options), arch, classes, resolution, stem)


def from_timm(classes: int, resolution: int = 32, *, arch: str = "resnet50", stem: str = "own") -> nn.Module:
    """timm's network `arch` (without a tag), as `from_torchvision`; some networks take `resolution` only."""
    timm = import_extra("timm", "model.name=timm", "timm")
    known = timm.list_models()
    base, _, tag = arch.partition(".")
    if tag and base in known:
        raise EngineError(f"model.arch={arch} names weights too: give model.arch={base} and model.weights={tag}")
    _check("timm", known, classes, resolution, arch, stem)
    defaults = timm.models.get_pretrained_cfg(arch)
    options: dict[str, object] = {"pretrained": False, "num_classes": classes}
    if defaults is not None and defaults.fixed_input_size:
        options["img_size"] = resolution
    return _network(partial(timm.create_model, arch, **options), arch, classes, resolution, stem)


def _check(library: str, known: Collection[str], classes: int, resolution: int, arch: str, stem: str) -> None:
    check("model.classes", classes, classes >= 1, "1 or more")
    check("data.resolution", resolution, resolution >= 8, "8 px or more")
    check_one_of("model.stem", stem, ("own", "small"))
    if arch not in known:
        lister = "timm.list_models()" if library == "timm" else "torchvision.models.list_models()"
        raise EngineError(f"model.arch={arch} is not one of {library}'s {len(known)} networks; "
                          f"{did_you_mean(arch, known, most=3) or f'{lister} names them'}")


def _network(make: Callable[[], nn.Module], arch: str, classes: int, resolution: int, stem: str) -> nn.Module:
    try:
        network = _on_default_device(make)
        if stem == "small":
            _make_stem_small(network, arch)
        with torch.device("meta"), torch.no_grad():
            logits = copy.deepcopy(network).to("meta").train()(torch.empty(2, 3, resolution, resolution))
    except EngineError:
        raise
    except REFUSALS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EngineError(f"data.resolution={resolution} does not suit model.arch={arch} with model.stem={stem} "
                          f"({reason}): choose another resolution or another network") from None
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, classes):
        raise EngineError(f"model.arch={arch} does not give one logit per class: choose another network")
    return network


def _on_default_device(make: Callable[[], nn.Module]) -> nn.Module:
    try:
        return make()
    except RuntimeError:
        if torch.get_default_device().type != "meta":
            raise
        # RegNets compute their widths with tensors; meta tensors have no values.
        with torch.device("cpu"):
            return make().to("meta")


def _make_stem_small(network: nn.Module, arch: str) -> None:
    name, first = next(((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d)), ("", None))
    # Conv2dSame pads by its stride as it runs: without stride it is a convolution with padding 1.
    if type(first).__name__ not in ("Conv2d", "Conv2dSame") or first.stride != (2, 2):
        found = "none" if first is None else f"a {type(first).__name__} of stride {first.stride[0]}"
        raise EngineError(f"model.stem=small replaces a first Conv2d of stride 2, and that of {arch} is {found}: leave "
                          "model.stem=own or choose another network")
    small = nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1, bias=first.bias is not None)
    start_kaiming(small)
    if small.bias is not None:
        nn.init.zeros_(small.bias)
    network.set_submodule(name, small)
    convolutions = 0
    for name, module in network.named_modules():
        convolutions += isinstance(module, nn.Conv2d)
        # A stem has at most three before its max-pool (ResNet-C and -D: He et al. 2019, arXiv:1812.01187).
        if convolutions > 3:
            return
        if isinstance(module, nn.MaxPool2d) and module.stride in (2, (2, 2)):
            network.set_submodule(name, nn.Identity())
            return
