"""The law of augmentation as batched torch on any device, from a resident uint8 data set.

It gives the pixels of `loaders.host.executor`.

    policy = DevicePolicy(parse("cnn4"), mean_rgb=(125, 123, 114), device="cuda")
    images_bhwc = policy(source_nhwc, indices, keys_of(seed, epoch, "cuda"))

Nothing in a call waits for the device, depends on data in Python, or draws from torch's or Python's generators, so a
call can be compiled whole and captured in a CUDA graph; an epoch is then the contents of `keys`, a batch the contents
of `indices`. Every sample goes through every step, and a gate that is closed makes the step change nothing.

All pixel arithmetic is integer. The coefficients of rotations, scalings and perspectives are float64 in the law's
order: where a library's sin, cos or tan, or a compiler that fuses a product and a sum (inductor's GPU code does unless
`emulate_precision_casts` is set), rounds the last bit otherwise, a pixel that lies exactly between two of the 2048
positions may take the other one, and differ by one grey level.
"""

import torch

from loaders.common.counter_rng import SLOTS_PER_OPERATION
from loaders.common.errors import DataError
from loaders.device import covers, filters, photo
from loaders.device.draws import Draws, keys_of
from loaders.device.moves import moved
from loaders.policy.policy import Policy
from loaders.policy.steps import ALTERNATE_SLOT, Stage

__all__ = ["DevicePolicy", "keys_of"]

PHOTO = {
    "brightness": photo.single(photo.BRIGHTNESS), "contrast": photo.single(photo.CONTRAST),
    "saturation": photo.single(photo.SATURATION), "hue": photo.single(photo.HUE), "jitter": photo.jitter,
    "gray": photo.gray, "noise": photo.noise, "invert": photo.invert, "solarize": photo.solarize,
    "posterize": photo.posterize, "blur": filters.blur, "sharpness": filters.sharpness,
    "autocontrast": filters.autocontrast, "equalize": filters.equalize, "shrink": filters.shrink,
}
COVER = {"cutout": covers.cutout, "erase": covers.erase, "coarse_dropout": covers.coarse_dropout}
TABLES = {
    "jitter": photo.jitter_table, "blur": filters.blur_table, "shrink": filters.shrink_table,
    "erase": lambda step: step.table,
}
# What a sample needs for each of its pixels while it is augmented: at most 144 bytes were seen (jitter, at the end).
BYTES_PER_PIXEL = 150
WORKING_BYTES = {"cpu": 1 << 27}
WORKING_BYTES_ON_A_GPU = 1 << 30


class DevicePolicy(torch.nn.Module):
    """A policy as one batched function on `device`; a module without parameters and with an empty state dict.

    mean_rgb: three integers 0..255, the colour of fill=mean. dtype: torch.uint8, or a floating type; then `mean` and
    `std` (three numbers each, of values scaled to 0..1) normalise. chunk: samples augmented at a time, which bounds
    the memory in use; by default as many as fit in WORKING_BYTES. Raises DataError where dtype, mean_rgb, mean, std
    or chunk are not of that kind.
    """

    def __init__(self, policy: Policy, *, mean_rgb: tuple[int, int, int], mean: tuple[float, ...] | None = None,
                 std: tuple[float, ...] | None = None, dtype: torch.dtype = torch.uint8,
                 device: torch.device | str, chunk: int | None = None):
        super().__init__()
        if not (dtype is torch.uint8 or dtype.is_floating_point):
            raise DataError(f"dtype={dtype}: images are torch.uint8 or a floating type such as torch.float32")
        if not (len(mean_rgb) == 3 and all(0 <= value <= 255 for value in mean_rgb)):
            raise DataError(f"mean_rgb={tuple(mean_rgb)}: it must be three integers from 0 to 255")
        if dtype.is_floating_point and (mean is None or std is None or min(std) <= 0):
            raise DataError(f"dtype={dtype} with mean={mean}, std={std}: give each channel's mean and positive std")
        if chunk is not None and chunk < 1:
            raise DataError(f"chunk={chunk}: it is a number of samples, 1 or more; leave it out for the default")
        self.policy, self.dtype = policy, dtype
        self.chunk = chunk or max(1, working_bytes(device) // bytes_per_sample(policy))
        slots = [slot for stage in policy.stages for slot in _slots(stage)]
        self.slots = (max(slots, default=0) // SLOTS_PER_OPERATION + 1) * SLOTS_PER_OPERATION
        values_per_image = [3 * stage.in_height * stage.in_width for stage in policy.stages]
        self._keep("counters", torch.arange(max(self.slots, *values_per_image, 0), device=device))
        self._keep("mean_rgb", torch.tensor(mean_rgb, dtype=torch.uint8, device=device))
        for k, stage in enumerate(policy.stages):
            table = TABLES[stage.steps[0].opcode](stage.steps[0]) if stage.steps[0].opcode in TABLES else None
            self._keep(f"table_{k}", table if table is None else torch.tensor(table, device=device))
        if dtype.is_floating_point:
            # v -> v * scale + shift is (v / 255 - mean) / std.
            scale = [1 / (255 * s) for s in std]
            shift = [-m / s for m, s in zip(mean, std, strict=True)]
            self._keep("affine", torch.tensor([scale, shift], dtype=torch.float32, device=device))

    def _keep(self, name: str, tensor: torch.Tensor | None) -> None:
        self.register_buffer(name, tensor, persistent=False)

    def forward(self, source_nhwc: torch.Tensor, indices: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Augment the samples `indices` (int64 (B,)) of `source_nhwc` (uint8 (N, H, W, 3), contiguous).

        keys: `keys_of(seed, epoch, device)`, int64 (3,). Returns uint8 (B, H', W', 3), or normalised floats
        (B, 3, H', W') in channels_last memory. A new tensor each time.
        """
        if source_nhwc.shape[1:] != (self.policy.height, self.policy.width, 3) or source_nhwc.dtype is not torch.uint8:
            raise DataError(f"images {tuple(source_nhwc.shape)} {source_nhwc.dtype}: this policy was made for uint8 "
                            f"(N, {self.policy.height}, {self.policy.width}, 3)")
        parts = [self._augmented(source_nhwc, part, keys) for part in indices.split(self.chunk)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _augmented(self, source_nhwc: torch.Tensor, indices: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        draws = Draws(keys, indices, self.slots, self.counters)
        stages = list(enumerate(self.policy.stages))
        if stages and stages[0][1].kind == "move":
            images = moved(source_nhwc, indices, stages.pop(0)[1], draws, self.mean_rgb)
        else:
            images = source_nhwc[indices]
        for k, stage in stages:
            table = getattr(self, f"table_{k}")
            if stage.kind == "move":
                everyone = torch.arange(len(indices), device=indices.device)
                images = moved(images, everyone, stage, draws, self.mean_rgb)
            elif stage.kind == "cover":
                step = stage.steps[0]
                images = COVER[step.opcode](images, step, draws, table, self.mean_rgb)
            else:
                images = PHOTO[stage.steps[0].opcode](images, stage.steps[0], draws, table)
        if self.dtype is torch.uint8:
            return images
        return (images * self.affine[0] + self.affine[1]).to(self.dtype).permute(0, 3, 1, 2)


def bytes_per_sample(policy: Policy) -> int:
    """About how much memory one sample needs while it is augmented."""
    sizes = [(policy.height, policy.width)]
    sizes += [(max(s.in_height, s.out_height), max(s.in_width, s.out_width)) for s in policy.stages]
    return BYTES_PER_PIXEL * max(height * width for height, width in sizes)


def working_bytes(device: torch.device | str) -> int:
    """The memory that the augmentation of a batch may take on a device, beside the images that go in and come out."""
    return WORKING_BYTES.get(torch.device(device).type, WORKING_BYTES_ON_A_GPU)


def _slots(stage: Stage):
    for step in stage.steps:
        yield step.slot
        yield from (gate.slot for gate in step.gates if gate.slot != ALTERNATE_SLOT)
        yield from (range_.slot for range_ in step.ranges)
