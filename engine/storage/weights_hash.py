"""A network's seal: one hash over its weights, equal exactly when they are bit for bit equal."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_sha256(model: nn.Module) -> str:
    """SHA-256, in hex, over the parameters and buffers of `model.state_dict()` in name order.

    Each adds its name, type, shape and its values' bytes in row-major order, so memory layout (channels_last) and
    device don't show. Names do: pass the bare network, not a wrapper around it. Copies the weights to the host.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        row_major = tensor.detach().cpu().reshape(-1).contiguous()
        digest.update(row_major.view(torch.uint8).numpy())
    return digest.hexdigest()
