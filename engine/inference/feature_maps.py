"""The feature maps of an early, a middle and a late layer of a network."""

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.modules import activation

from engine.common.errors import EngineError
from engine.inference.gradcam import way_to_bchw

ACTIVATIONS = tuple(found for name in activation.__all__ if issubclass(found := getattr(activation, name), nn.Module)
                    and found is not nn.MultiheadAttention)


@dataclass(frozen=True)
class LayerMaps:
    """Some channels of one layer's output: maps_bchw float32 (B, shown, H, W), of `channels` in all."""

    place: str
    layer: str
    channels: int
    maps_bchw: np.ndarray


def feature_maps(model: nn.Module, inputs_bchw: torch.Tensor, shown: int = 8) -> list[LayerMaps]:
    """The maps of an early, a middle and a late layer for normalised images (B, 3, H, W); fewer for tiny networks.

    The layers are activations whose output has positions, or other such layers if there is none. Each shows the `shown`
    channels that vary most over images and positions. Deterministic; `model` must be in evaluation mode. Raises
    EngineError if no layer's output has positions.
    """
    outputs: list[tuple[str, bool, torch.Tensor]] = []

    def hook_of(name: str):
        def hook(module: nn.Module, _: tuple, output: object) -> None:
            way = way_to_bchw(output.shape) if isinstance(output, torch.Tensor) else None
            if way is not None:
                # Copied, because the next layer may overwrite it in place.
                outputs.append((name, isinstance(module, ACTIVATIONS), way(output).float().clone()))
        return hook

    with ExitStack() as hooks, torch.inference_mode():
        for name, module in model.named_modules():
            if not any(module.children()):
                hooks.enter_context(module.register_forward_hook(hook_of(name)))
        model(inputs_bchw)
    layers = [output for output in outputs if output[1]] or outputs
    if not layers:
        raise EngineError(f"no layer of {type(model).__name__} has an output with positions: there are no feature "
                          "maps to show")
    last = len(layers) - 1
    # With fewer than three layers, the earlier name stays.
    places = {last: "late", last // 2: "middle", 0: "early"}
    found = []
    for number in sorted(places):
        name, _, output_bchw = layers[number]
        spread = output_bchw.transpose(0, 1).flatten(1).std(1, unbiased=False).nan_to_num(0)
        # Sorted on the host, where the sort is stable.
        best = np.sort(np.argsort(-spread.cpu().numpy(), kind="stable")[:shown])
        maps_bchw = output_bchw[:, torch.from_numpy(best).to(output_bchw.device)].cpu().numpy()
        found.append(LayerMaps(places[number], name, output_bchw.shape[1], maps_bchw))
    return found
