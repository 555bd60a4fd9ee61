"""Augmentation on any device, from a data set held there as uint8: the pixels of `loaders.host`.

A GPU with Triton runs `loaders.kernels`; other devices, and passes that no kernel serves, batched torch.

    policy = DevicePolicy(parse("cnn4"), mean_rgb=(125, 123, 114), device="cuda")
    images_bhwc = policy(source_nhwc, indices, keys_of(seed, epoch, "cuda"))

A call never waits for the device, never branches on data in Python, and uses neither torch's nor Python's generators,
so it compiles whole and can be captured in a CUDA graph, after a first call, which compiles the kernels; `keys` then
hold the epoch, `indices` the batch. In batched torch every sample passes every op; a closed gate makes the op neutral.

All pixel arithmetic is integer. The coefficients of rotations, scalings and perspectives are float64, computed in the
reference's order. If a library's sin, cos or tan rounds the last bit differently, or a compiler fuses a product and a
sum (inductor's GPU code does unless `emulate_precision_casts` is set), a pixel exactly between two of the 2048
positions may differ by one grey level.
"""

import torch

from loaders.common.counter_rng import SLOTS_PER_OPERATION
from loaders.common.errors import DataError
from loaders.device import covers, filters, photo
from loaders.device.draws import Draws, keys_of
from loaders.device.warp import warp
from loaders.kernels.available import obstacle
from loaders.kernels.runs import Run, runs_of, tables_of
from loaders.policy.passes import jitter_orders
from loaders.policy.policy import Policy, check_mean_rgb

__all__ = ["DevicePolicy", "keys_of"]

PHOTO = {
    "brightness": photo.brightness, "contrast": photo.contrast, "saturation": photo.saturation, "hue": photo.hue,
    "jitter": photo.jitter, "gray": photo.gray, "noise": photo.noise, "invert": photo.invert,
    "solarize": photo.solarize, "posterize": photo.posterize, "blur": filters.blur, "sharpness": filters.sharpness,
    "autocontrast": filters.autocontrast, "equalize": filters.equalize, "shrink": filters.shrink,
}
COVER = {"cutout": covers.cutout, "erase": covers.erase, "coarse_dropout": covers.coarse_dropout}
TABLES = {
    "jitter": jitter_orders, "blur": filters.blur_table, "shrink": filters.shrink_table,
    "erase": lambda op: op.table,
}
# A sample's memory per pixel during augmentation: the measured maximum is 144 bytes (jitter, at the end).
BYTES_PER_PIXEL = 150
WORKING_BYTES = {"cpu": 1 << 27}
WORKING_BYTES_ON_A_GPU = 1 << 30


class DevicePolicy(torch.nn.Module):
    """A policy as one batched function on `device`; a module without parameters and with an empty state dict.

    mean_rgb: three integers 0..255, the colour of fill=mean. chunk: samples that batched torch augments at a time,
    which bounds the memory in use; by default as many as fit in WORKING_BYTES. Raises DataError if mean_rgb or chunk is
    out of range.
    """

    def __init__(self, policy: Policy, *, mean_rgb: tuple[int, int, int], device: torch.device | str,
                 chunk: int | None = None):
        super().__init__()
        check_mean_rgb(mean_rgb)
        if chunk is not None and chunk < 1:
            raise DataError(f"chunk={chunk}: it is a number of samples, 1 or more; leave it out for the default")
        self.policy = policy
        # In order: runs, each one kernel, and the numbers of the passes that batched torch does.
        by_kernels = obstacle(torch.device(device).type) is None
        self.runs = runs_of(policy) if by_kernels else tuple(range(len(policy.passes)))
        self.chunk = chunk or max(1, working_bytes(device) // bytes_per_sample(policy))
        slots = [drawn.slot for pass_ in policy.passes for op in pass_.ops for drawn in (op, *op.gates, *op.ranges)]
        self.slots = (max(slots, default=0) // SLOTS_PER_OPERATION + 1) * SLOTS_PER_OPERATION
        values_per_image = [3 * pass_.in_height * pass_.in_width for pass_ in policy.passes]
        buffers = {"counters": torch.arange(max(self.slots, *values_per_image, 0), device=device),
                   "mean_rgb": torch.tensor(mean_rgb, dtype=torch.uint8, device=device),
                   "tables": torch.tensor(tables_of(policy), device=device)}
        for k, pass_ in enumerate(policy.passes):
            op = pass_.ops[0]
            table = torch.tensor(TABLES[op.opcode](op), device=device) if op.opcode in TABLES else None
            buffers[f"table_{k}"] = table
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, source_nhwc: torch.Tensor, indices: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Augment the samples `indices` (int64 (B,)) of `source_nhwc` (uint8 (N, H, W, 3), contiguous).

        keys: `keys_of(seed, epoch, device)`, int64 (3,). Returns uint8 (B, H', W', 3), a new tensor each time.
        """
        if source_nhwc.shape[1:] != (self.policy.height, self.policy.width, 3) or source_nhwc.dtype is not torch.uint8:
            raise DataError(f"images {tuple(source_nhwc.shape)} {source_nhwc.dtype}: this policy was made for uint8 "
                            f"(N, {self.policy.height}, {self.policy.width}, 3)")
        if self.runs and all(isinstance(run, Run) for run in self.runs):
            # Kernels need no memory besides their results.
            return self._augmented(source_nhwc, indices, keys)
        parts = [self._augmented(source_nhwc, part, keys) for part in indices.split(self.chunk)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _augmented(self, source_nhwc: torch.Tensor, indices: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        draws, images, rows = None, source_nhwc, indices
        for number, run in enumerate(self.runs):
            if isinstance(run, Run):
                images = self._kernel(number, images, indices, keys, from_source=rows is not None)
            else:
                draws = draws or Draws(keys, indices, self.slots, self.counters)
                images = self._batched(run, images, rows, draws)
            rows = None
        return images if rows is None else images[rows]

    def _kernel(self, number: int, images: torch.Tensor, indices: torch.Tensor, keys: torch.Tensor,
                from_source: bool) -> torch.Tensor:
        from loaders.kernels.kernel import augmented

        policy = self.policy
        return augmented(images, indices, keys, self.mean_rgb, self.tables, policy.text, policy.height, policy.width,
                         number, from_source)

    def _batched(self, k: int, images: torch.Tensor, rows: torch.Tensor | None, draws: Draws) -> torch.Tensor:
        """Pass k of the images at `rows`, or of all."""
        pass_, table = self.policy.passes[k], getattr(self, f"table_{k}")
        op = pass_.ops[0]
        if pass_.kind == "move":
            rows = torch.arange(len(images), device=images.device) if rows is None else rows
            return warp(images, rows, pass_, draws, self.mean_rgb)
        images = images if rows is None else images[rows]
        if pass_.kind == "cover":
            return COVER[op.opcode](images, op, draws, table, self.mean_rgb)
        return PHOTO[op.opcode](images, op, draws, table)


def bytes_per_sample(policy: Policy) -> int:
    """The approximate memory of one sample during augmentation."""
    sizes = [(policy.height, policy.width)]
    sizes += [(max(p.in_height, p.out_height), max(p.in_width, p.out_width)) for p in policy.passes]
    return BYTES_PER_PIXEL * max(height * width for height, width in sizes)


def working_bytes(device: torch.device | str) -> int:
    """The memory that augmenting a batch may take on a device, without its input and output images."""
    return WORKING_BYTES.get(torch.device(device).type, WORKING_BYTES_ON_A_GPU)
