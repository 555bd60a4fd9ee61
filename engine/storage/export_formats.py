"""The export formats by name: the file each writes and the packages it needs. Imports nothing heavy."""

from collections.abc import Sequence

from engine.common.errors import EngineError
from engine.common.optional import refuse_missing

FILES = {"safetensors": "model.safetensors", "torch-export": "model.pt2", "onnx": "model.onnx",
         "int8": "model_int8.pt2"}
NEEDS = {"safetensors": ("safetensors",), "torch-export": (), "onnx": ("onnx", "onnxruntime", "onnxscript"),
         "int8": ("torchao",)}


def parse(text: str) -> tuple[str, ...]:
    """The formats that a comma-separated list names, each once, in its order; EngineError for an unknown one."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in FILES:
            raise EngineError(f"--format {name} is unknown: give one or more of {','.join(FILES)}")
    return names


def need(names: Sequence[str]) -> None:
    """EngineError where a package is missing that one of these formats needs."""
    for name in names:
        for package in NEEDS[name]:
            refuse_missing(package, f"--format {name}", "export")
