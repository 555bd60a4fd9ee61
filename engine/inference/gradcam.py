"""GradCAM maps (Selvaraju et al. 2017, arXiv:1610.02391), by the grad-cam library, for any architecture."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import nn
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd

from engine.common.errors import EngineError
from engine.common.optional import import_extra
from engine.inference.trained import Trained

POOLINGS = (_AvgPoolNd, _MaxPoolNd, _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd)
# Class and register tokens, which transformers put before the patch tokens.
MOST_PREFIX_TOKENS = 5

ToBchw = Callable[[torch.Tensor], torch.Tensor]


def overlays(trained: Trained, images_bhwc: np.ndarray, targets: Sequence[int] | None = None) -> np.ndarray:
    """The evidence for the classes `targets` (None: the predicted ones) as colours over the images: uint8 (B, H, W, 3).

    images_bhwc: uint8 (B, side_px, side_px, 3). Colours run from blue, no evidence, to red, the most in this image.
    Deterministic. Raises EngineError if grad-cam is not installed or the network has no spatial feature map, and
    ValueError if there is not one target per image.
    """
    inputs_bchw = trained.to_input(torch.from_numpy(np.ascontiguousarray(images_bhwc)).to(trained.device))
    maps_bhw = heatmaps(trained.model, inputs_bchw, targets)
    from pytorch_grad_cam.utils.image import show_cam_on_image

    return np.stack([show_cam_on_image(image.astype(np.float32) / 255, heat, use_rgb=True)
                     for image, heat in zip(images_bhwc, maps_bhw, strict=True)])


def heatmaps(model: nn.Module, inputs_bchw: torch.Tensor, targets: Sequence[int] | None = None) -> np.ndarray:
    """GradCAM of a network in evaluation mode: float32 (B, H, W); each map with any evidence runs from 0 to 1.
    inputs_bchw: normalised float (B, 3, H, W) on the network's device. Raises as `overlays`."""
    library, targeting = (import_extra(module, "GradCAM", "cam", "grad-cam")
                          for module in ("pytorch_grad_cam", "pytorch_grad_cam.utils.model_targets"))
    if targets is not None and len(targets) != len(inputs_bchw):
        raise ValueError(f"{len(targets)} targets for {len(inputs_bchw)} images: give one class per image")
    layer, to_bchw = last_feature_map(model, inputs_bchw[:1])
    chosen = None if targets is None else [targeting.ClassifierOutputTarget(int(target)) for target in targets]
    # The weights may be frozen; gradients then flow because the images require them.
    with torch.enable_grad(), library.GradCAM(model, [layer], reshape_transform=to_bchw) as cam:
        return cam(inputs_bchw.detach().requires_grad_(), chosen).astype(np.float32)


def last_feature_map(model: nn.Module, input_bchw: torch.Tensor) -> tuple[nn.Module, ToBchw]:
    """(the last module whose output has positions that affect the logits, the function that makes its output BCHW).

    Found by running one image (1, 3, side, side). Excludes modules that run several times (their outputs would mix),
    poolings (the map before them is finer), and outputs without a gradient at their positions, such as the patch tokens
    of a transformer's last block, which only reads the class token. EngineError if nothing is left.
    """
    calls: dict[nn.Module, int] = {}
    maps: list[tuple[nn.Module, ToBchw]] = []
    gradients: dict[int, torch.Tensor] = {}
    pooled: list[torch.Tensor] = []

    def look(module: nn.Module, _: tuple, output: object) -> None:
        calls[module] = calls.get(module, 0) + 1
        if not isinstance(output, torch.Tensor) or not output.requires_grad:
            return
        if isinstance(module, POOLINGS):
            pooled.append(output)
        way = way_to_bchw(output.shape)
        if way is not None and not any(output is other for other in pooled):
            number = len(maps)
            maps.append((module, way))
            output.register_hook(lambda gradient: gradients.update({number: way(gradient)}))

    with ExitStack() as hooks, torch.enable_grad():
        for module in model.modules():
            if module is not model:
                hooks.enter_context(module.register_forward_hook(look))
        logits = model(input_bchw.detach().requires_grad_())
        # All classes, unevenly weighted: one class may have no gradient here, and a plain sum may cancel.
        (logits * torch.linspace(1, 2, logits.shape[1], device=logits.device)).sum().backward()
    for number, (module, way) in reversed([*enumerate(maps)]):
        if calls[module] == 1 and number in gradients and gradients[number].count_nonzero():
            return module, way
    raise EngineError(f"GradCAM finds no feature map with positions in {type(model).__name__}: cannot show "
                      "where it looks")


def way_to_bchw(shape: Sequence[int]) -> ToBchw | None:
    """The function that makes an output of this shape (B, C, H, W) with H = W > 1; None if it has no positions. Known
    are BCHW, BHWC (Swin) and tokens (B, prefix + H * W, C) (vision transformers)."""
    if len(shape) == 4 and shape[2] == shape[3] > 1:
        return lambda output: output
    if len(shape) == 4 and shape[1] == shape[2] > 1:
        return lambda output: output.permute(0, 3, 1, 2)
    if len(shape) == 3 and shape[1] >= 4:
        side = math.isqrt(shape[1])
        prefix = shape[1] - side * side
        if prefix <= MOST_PREFIX_TOKENS:
            return lambda output: output[:, prefix:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    return None
