"""safetensors files: a network's weights by name, and a header that says how to build it; no pickle."""

import json
from collections.abc import Mapping

import torch

from engine.common.optional import import_extra
from engine.exporting.metadata import as_texts, from_texts
from engine.exporting.toolkits import quiet


def to_bytes(weights: Mapping[str, torch.Tensor], metadata: Mapping[str, object]) -> bytes:
    """The content of a .safetensors file: a state dict, on the CPU, with the metadata in its header."""
    safetensors = import_extra("safetensors.torch", "--format safetensors", "export")
    # The format allows neither shared nor non-contiguous tensors.
    contiguous = {name: tensor.detach().contiguous().clone() for name, tensor in weights.items()}
    return safetensors.save(contiguous, as_texts(metadata))


def from_bytes(content: bytes, name: str) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """(the state dict, metadata) of a .safetensors file; EngineError if it is damaged or not Cadence's."""
    safetensors, of_torch = (import_extra(module, "a .safetensors file", "export")
                             for module in ("safetensors", "safetensors.torch"))
    with quiet(f"{name} is damaged or not a safetensors file", "export the network again", safetensors.SafetensorError):
        weights = of_torch.load(content)
    # The header is JSON: its length in 8 bytes, then the text. safetensors reads it from files only.
    length = int.from_bytes(content[:8], "little")
    return weights, from_texts(json.loads(content[8: 8 + length]).get("__metadata__", {}), name)
