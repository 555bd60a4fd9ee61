"""What a batch's augmentation issues on a GPU, counted on fake tensors."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.common.counting import Counts, count
from loaders.device.executor import DevicePolicy
from loaders.policy.policy import Policy

# Held by the feed; a batch reads its own.
IMAGES = 50_000


def augmentation_counts(policy: Policy, batch: int, kernels: bool = True) -> Counts:
    """What the resident feed issues for one batch, labels included; without `kernels` as where Triton is missing."""
    with FakeTensorMode():
        augment = DevicePolicy(policy, mean_rgb=(125, 123, 114), device="cuda")
        if not kernels:
            augment.runs = tuple(range(len(policy.passes)))
        images_nhwc = torch.empty(IMAGES, policy.height, policy.width, 3, dtype=torch.uint8, device="cuda")
        labels, indices = (torch.empty(n, dtype=torch.int64, device="cuda") for n in (IMAGES, batch))
        keys = torch.empty(3, dtype=torch.int64, device="cuda")
        return count(lambda: (augment(images_nhwc, indices, keys), labels[indices]))
