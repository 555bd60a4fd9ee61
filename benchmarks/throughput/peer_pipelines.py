"""A policy in other libraries' operations: torchvision's transforms (v1 on PIL images, v2 on tensors) and FFCV's own.

Operations that a library lacks are left out and reported: a peer without them has less to do.
"""

from types import ModuleType

import numpy as np
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

from loaders.policy.policy import Policy
from loaders.policy.syntax import Operation

Values = dict[str, object]


def author_transform(policy: Policy, mean: tuple[float, ...], std: tuple[float, ...]):
    """(transform, left out): uint8 (H, W, 3) array -> normalised float32 (3, H, W), by PIL and torchvision's v1."""
    # Rectangles are covered after normalising, as RandomErasing's documentation shows.
    black = tuple(-m / s for m, s in zip(mean, std, strict=True))
    kept, covers, left_out = of_torchvision(policy, v1, {"mean": 0, "zero": black})
    normalise = [v1.ToTensor(), v1.Normalize(mean, std)]
    return v1.Compose([Image.fromarray, *kept, *normalise, *covers]), left_out


def tensor_transform(policy: Policy, mean: tuple[float, ...]):
    """(transform, left out): uint8 (3, H, W) tensor -> uint8 (3, H, W), by torchvision's v2."""
    mean_rgb = [round(255 * share) for share in mean]
    kept, covers, left_out = of_torchvision(policy, v2, {"mean": mean_rgb, "zero": 0})
    return v2.Compose([*kept, *covers] or [v2.Identity()]), left_out


def of_torchvision(policy: Policy, library: ModuleType, values: Values) -> tuple[list, list, list[str]]:
    """(transforms that change pixels, those that cover them, texts left out), in order; `values`: fill -> its value."""
    kept, covers, left_out, side_px = [], [], [], policy.height
    for operation in policy.operations:
        if operation.name == "resize":
            side_px = operation.value("px")
        made = express(operation, library, side_px, values)
        if made is None:
            left_out.append(operation.text)
        else:
            (covers if operation.spec.kind == "cover" else kept).append(made)
    return kept, covers, left_out


def express(operation: Operation, library: ModuleType, side_px: int, values: Values):
    """torchvision's transform for `operation` on images of side_px, None if it has none."""
    value, name, span = dict(operation.arguments), operation.name, operation.interval
    fill, zero = value.get("fill"), value.get("fill") == "zero"
    if name == "crop" and fill != "mean":
        return library.RandomCrop(side_px, padding=value["pad_px"],
                                  padding_mode="reflect" if fill == "reflect" else "constant")
    if name in ("flip", "flip_alternate"):
        return library.RandomHorizontalFlip(value.get("p", 0.5))
    if name == "resize":
        return library.Resize((side_px, side_px))
    if name == "jitter":
        return library.ColorJitter(**{each: span(each) for each in ("brightness", "contrast", "saturation", "hue")})
    if name == "gray":
        return library.RandomGrayscale(value["p"])
    if name == "affine" and zero:
        # torchvision only shifts both ways; a one-sided shift costs the same.
        shift = max(map(abs, span("translate")))
        return library.RandomAffine(span("rotate_deg"), (shift, shift), span("scale"), span("shear_deg"))
    if name == "perspective" and zero:
        return library.RandomPerspective(value["distortion"], value["p"])
    if name == "blur":
        return library.GaussianBlur(value["kernel_px"], span("sigma"))
    if name == "trivial_wide" and zero:
        return library.TrivialAugmentWide()
    if name == "erase" and fill in values:
        return library.RandomErasing(value["p"], span("scale"), span("ratio"), values[fill])
    if name == "cutout" and fill in values:
        share = (value["hole_px"] / side_px) ** 2
        return library.RandomErasing(1.0, (share, share), (1.0, 1.0), values[fill])
    if name == "maybe" and all(child.spec.kind != "cover" for child in operation.children):
        made = [express(child, library, side_px, values) for child in operation.children]
        return library.RandomApply(made, value["p"]) if None not in made else None
    return None


def ffcv_pipeline(policy: Policy, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device):
    """(operations, left out): FFCV's decoder and stock operations, then channels_last images on `device`.

    On the CPU they are normalised to float32 by FFCV's own operation; a GPU gets uint8, a quarter of the bytes.
    """
    from ffcv import transforms
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder, SimpleRGBImageDecoder

    colour = {"zero": (0, 0, 0), "mean": tuple(round(255 * share) for share in mean)}
    decoder, kept, left_out = SimpleRGBImageDecoder(), [], []
    for operation in policy.operations:
        value = dict(operation.arguments)
        painted = colour.get(value.get("fill", "zero"))
        if operation.name == "resize":
            decoder = RandomResizedCropRGBImageDecoder((value["px"], value["px"]), scale=(1, 1), ratio=(1, 1))
        elif operation.name in ("flip", "flip_alternate"):
            kept.append(transforms.RandomHorizontalFlip(value.get("p", 0.5)))
        elif operation.name == "crop":
            # FFCV has no reflected border; a black one costs the same.
            kept.append(transforms.RandomTranslate(value["pad_px"], painted or colour["zero"]))
        elif operation.name == "cutout" and painted:
            kept.append(transforms.Cutout(value["hole_px"], painted))
        else:
            left_out.append(operation.text)
    end = [transforms.ToTensor(), transforms.ToTorchImage()]
    if device.type == "cpu":
        end.insert(0, transforms.NormalizeImage(255 * np.array(mean), 255 * np.array(std), np.float32))
    else:
        end.insert(1, transforms.ToDevice(device, non_blocking=True))
    return [decoder, *kept, *end], left_out
