"""What layers of a network make of an image: the feature maps of an early, a middle and a late one."""

from collections.abc import Callable
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
    """The maps of an early, a middle and a late layer for normalised images (B, 3, H, W), fewer in tiny networks.

    Layers are activations whose output has positions, or, in a network with none, any such layers. `shown` channels
    are chosen, those that vary most over images and positions. Deterministic; `model` is in evaluation mode. Raises
    EngineError where no layer's output has positions.
    """
    calls: list[tuple[str, int]] = []
    for kinds in (ACTIVATIONS, (nn.Module,)):
        run_watched(model, inputs_bchw[:1], lambda name, number, _: calls.append((name, number)), kinds)
        if calls:
            break
    else:
        raise EngineError(f"no layer of {type(model).__name__} gives maps with positions: there are none to show")
    last = len(calls) - 1
    # Where there are fewer layers than places, the earlier place names them.
    wanted = {calls[last]: "late", calls[last // 2]: "middle", calls[0]: "early"}
    found: list[LayerMaps] = []

    def keep(name: str, number: int, output_bchw: torch.Tensor) -> None:
        place = wanted.get((name, number))
        if place:
            spread = output_bchw.float().transpose(0, 1).flatten(1).std(1, unbiased=False).nan_to_num(0)
            # Sorted on the host, where equal spreads keep their order.
            best = np.sort(np.argsort(-spread.cpu().numpy(), kind="stable")[:shown])
            maps = output_bchw[:, torch.from_numpy(best).to(output_bchw.device)].float().cpu().numpy()
            found.append(LayerMaps(place, name, output_bchw.shape[1], maps))

    run_watched(model, inputs_bchw, keep, kinds)
    return found


def run_watched(model: nn.Module, inputs_bchw: torch.Tensor, see: Callable[[str, int, torch.Tensor], None],
                kinds: tuple[type, ...]) -> None:
    """Send images through; `see(name, number, output_bchw)` at the number-th call (from 0) of each leaf of `kinds`.

    Only of outputs that have positions. They may be written over by the next layer: `see` must take what it needs.
    """
    counts: dict[str, int] = {}

    def hook_of(name: str):
        def hook(module: nn.Module, _: tuple, output: object) -> None:
            way = way_to_bchw(output.shape) if isinstance(output, torch.Tensor) else None
            if way is not None:
                counts[name] = counts.get(name, -1) + 1
                see(name, counts[name], way(output))
        return hook

    handles = [module.register_forward_hook(hook_of(name)) for name, module in model.named_modules()
               if isinstance(module, kinds) and not any(module.children())]
    try:
        with torch.inference_mode():
            model(inputs_bchw)
    finally:
        for handle in handles:
            handle.remove()
