"""One hash over the weights of a network: equal exactly where they are equal bit for bit."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_sha256(model: nn.Module) -> str:
    """SHA-256, in hex, over the parameters and buffers of `model.state_dict()` in name order.

    Each adds its name, type, shape and the bytes of its values in row-major order: memory layout (channels_last) and
    device make no difference, names do, so pass the network itself and not a wrapper. Copies the weights to the host.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        row_major = tensor.detach().cpu().reshape(-1).contiguous()
        digest.update(row_major.view(torch.uint8).numpy())
    return digest.hexdigest()
