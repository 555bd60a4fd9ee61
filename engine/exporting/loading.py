"""Exported files, read back."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from engine.common.errors import EngineError
from engine.exporting import onnx_file, safetensors_file, torch_program
from engine.exporting.verify import Logits
from engine.inference.trained import assemble
from engine.storage import export_formats
from recipes.settings.load import restore


@dataclass(frozen=True)
class Exported:
    """metadata: as `metadata.describe`. logits: uint8 (B, side, side, 3), RGB, on the CPU -> float32 (B, classes).

    network: the torch module that computes them; for .safetensors the bare network, which takes normalised images; for
    ONNX None.
    """

    metadata: Mapping[str, object]
    logits: Logits
    network: nn.Module | None


def load(path: str | Path) -> Exported:
    """Read a file that `python -m engine.export` wrote, by its suffix: .safetensors, .pt2 or .onnx.

    Raises EngineError if it cannot be read, is damaged or not Cadence's, or a package is missing. A .safetensors or
    .onnx file runs no code; torch does not promise that for .pt2, so load those only from people you trust.
    """
    path = Path(path)
    name = next((name for name, file in export_formats.FILES.items() if Path(file).suffix == path.suffix), None)
    if name is None:
        raise EngineError(f"{path} is not an exported file: give a .safetensors, .pt2 or .onnx file")
    export_formats.need([name])
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EngineError(f"{path} cannot be read ({error.strerror}): give a file that `python -m engine.export` "
                          "wrote") from None
    return read_back(content, str(path))


def read_back(content: bytes, name: str) -> Exported:
    """The content of a file of that name, which has one of the three suffixes."""
    suffix = Path(name).suffix
    if suffix == ".onnx":
        logits, metadata = onnx_file.from_bytes(content, name)
        return Exported(metadata, logits, None)
    if suffix == ".pt2":
        module, metadata = torch_program.from_bytes(content, name)
        return Exported(metadata, module, module)
    weights, metadata = safetensors_file.from_bytes(content, name)
    trained = assemble(Path(name), restore(metadata["recipe"], metadata["settings"]), metadata["class_names"], weights,
                       metadata["epoch"], [], "cpu")
    return Exported(metadata, torch_program.Portable(trained.model, trained.to_input).eval(), trained.model)
