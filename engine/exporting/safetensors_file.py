"""safetensors files: a network's weights by name and what is needed to build the network around them; no pickle."""

import json
from collections.abc import Mapping

import torch

from engine.common.errors import EngineError
from engine.exporting.metadata import as_texts, from_texts


def to_bytes(weights: Mapping[str, torch.Tensor], metadata: Mapping[str, object]) -> bytes:
    """The content of a .safetensors file: a state dict, on the CPU, with the metadata in its header."""
    from safetensors.torch import save

    # A file holds no tensor twice and no memory layout but rows.
    return save({name: tensor.detach().contiguous().clone() for name, tensor in weights.items()}, as_texts(metadata))


def from_bytes(content: bytes, name: str) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """(the state dict, metadata) of a .safetensors file.

    Raises EngineError where the file, called `name` there, is damaged or another program's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        weights = load(content)
        # The header is JSON: its length in 8 bytes, then the text. safetensors reads it of files only.
        length = int.from_bytes(content[:8], "little")
        texts = json.loads(content[8: 8 + length]).get("__metadata__", {})
    except SafetensorError as error:
        raise EngineError(f"{name} is damaged or no safetensors file ({' '.join(str(error).split())}): export the "
                          "network again") from None
    return weights, from_texts(texts, name)
