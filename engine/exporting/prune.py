"""Pruning by torch.nn.utils.prune: which weights become 0, and keeping them 0 during further training."""

import copy
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.utils import prune

from engine.common.errors import EngineError
from engine.optim.optimizer_list import OptimizerList

# kind -> its description in the results
KINDS = {"weights": "weights, the smallest of all layers together",
         "channels": "output channels of each convolution, those with the smallest L2 norm"}


def masks_of(model: nn.Module, kind: str, share: float) -> dict[str, torch.Tensor]:
    """Parameter name -> mask of its shape, 0 if pruned, for the trainable weights of convolutions and linear layers.

    kind "weights": the `share` (0..1, open) of all these weights with the smallest magnitudes (Han et al. 2015).
    "channels": in each convolution the `share` of output channels whose filters have the smallest L2 norms (after Li et
    al. 2017, who sum magnitudes); linear layers stay whole. Deterministic; `model` stays unchanged. Raises EngineError
    if there is nothing to prune.
    """
    kinds = (nn.Conv2d,) if kind == "channels" else (nn.Conv2d, nn.Linear)
    # torch's prune replaces parameters, which changes their order in a module, and needs contiguous ones.
    shadow = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    layers = {name: module for name, module in shadow.named_modules()
              if isinstance(module, kinds) and module.weight.requires_grad}
    if not layers:
        raise EngineError(f"--prune-kind {kind}: the network has no layer with such trainable weights; choose the "
                          "other kind")
    if kind == "channels":
        for layer in layers.values():
            prune.ln_structured(layer, "weight", share, n=2, dim=0)
    else:
        prune.global_unstructured([(layer, "weight") for layer in layers.values()], prune.L1Unstructured, amount=share)
    masks = {f"{name}.weight" if name else "weight": layer.weight_mask for name, layer in layers.items()}
    if all(bool(mask.all()) for mask in masks.values()):
        raise EngineError(f"--prune={share} prunes nothing because a layer has too few {kind}: choose a larger share")
    return masks


@torch.no_grad()
def apply(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Set the masked weights of `model` to 0, in place."""
    for name, mask in masks.items():
        model.get_parameter(name).mul_(mask)


def hold(optimizer: torch.optim.Optimizer | OptimizerList, model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Apply the masks after each later step of `optimizer`."""
    for each in optimizer.optimizers if isinstance(optimizer, OptimizerList) else (optimizer,):
        each.register_step_post_hook(lambda *_: apply(model, masks))


def zeros(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> tuple[int, int]:
    """(zeros, weights) among the weights that `masks` cover."""
    covered = [model.get_parameter(name) for name in masks]
    return sum(int((weight == 0).sum()) for weight in covered), sum(weight.numel() for weight in covered)
