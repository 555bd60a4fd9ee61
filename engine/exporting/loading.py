"""Exported files, read back as something that answers.

    exported = load("runs/quickstart/TIME/export/model.onnx")
    logits = exported.logits(images_bhwc)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from engine.build.model import rebuilt_model
from engine.common.errors import EngineError
from engine.exporting import onnx_file, safetensors_file, torch_program
from engine.exporting.portable import Portable
from engine.exporting.verify import Answer
from engine.storage import export_formats
from engine.training.forward import ToInput
from recipes.settings.load import restore

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Exported:
    """An exported file, read back.

    metadata: as engine.exporting.metadata describes it. logits: uint8 (B, side, side, 3), RGB, on the CPU to float32
    (B, classes). network: what computes it as a torch module, the bare network of a .safetensors file (it takes
    normalised images), None for ONNX.
    """

    metadata: Mapping[str, object]
    logits: Answer
    network: nn.Module | None


def load(path: str | Path) -> Exported:
    """Read a file that `python -m engine.export` wrote, by its ending: .safetensors, .pt2 or .onnx.

    Raises EngineError where it cannot be read, is damaged or another program's, or a package is missing. A .safetensors
    or .onnx file runs no code; of a .pt2 file that is for torch to say, so load those of people you trust.
    """
    path = Path(path)
    name = next((name for name, file in export_formats.FILES.items() if Path(file).suffix == path.suffix), None)
    if name is None:
        raise EngineError(f"{path} is no exported file: give a .safetensors, .pt2 or .onnx file")
    export_formats.need([name])
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EngineError(f"{path} cannot be read ({error.strerror}): give a file that `python -m engine.export` "
                          "wrote") from None
    return read_back(content, str(path))


def read_back(content: bytes, name: str) -> Exported:
    """The content of a file of that name, of one of the three endings."""
    suffix = Path(name).suffix
    if suffix == ".safetensors":
        weights, told = safetensors_file.from_bytes(content, name)
        network = rebuilt(weights, told, name)
        to_input = ToInput(told["mean"], told["std"], CPU)
        return Exported(told, Portable(network, to_input.scale, to_input.shift).eval(), network)
    if suffix == ".onnx":
        answer, told = onnx_file.from_bytes(content, name)
        return Exported(told, answer, None)
    module, told = torch_program.from_bytes(content, name)
    return Exported(told, module, module)


def rebuilt(weights: Mapping[str, torch.Tensor], told: Mapping[str, object], name: str) -> nn.Module:
    """The network that the metadata tell of, on the CPU, in evaluation mode, with these weights."""
    recipe = restore(told["recipe"], told["settings"])
    network = rebuilt_model(recipe, len(told["class_names"]), weights, Path(name), CPU)
    return network.requires_grad_(False).eval()
