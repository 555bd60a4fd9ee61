"""torch.export programs: a network captured as one, written to and read from .pt2 files, and compiled."""

import io
import json
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module

import torch
from torch import nn

from engine.exporting.metadata import METADATA_FILE, as_texts, from_texts
from engine.exporting.toolkits import quiet
from engine.exporting.verify import Logits
from engine.training.forward import ToInput, normalised


class Portable(nn.Module):
    """uint8 (B, side, side, 3), RGB -> float32 logits (B, classes), for a network in evaluation mode."""

    def __init__(self, network: nn.Module, to_input: ToInput):
        super().__init__()
        self.network = network
        self.register_buffer("scale", to_input.scale)
        self.register_buffer("shift", to_input.shift)

    def forward(self, images_bhwc: torch.Tensor) -> torch.Tensor:
        return self.network(normalised(images_bhwc, self.scale, self.shift)).float()


def to_program(module: nn.Module, side_px: int, name: str) -> torch.export.ExportedProgram:
    """`module`, which takes uint8 (B, side_px, side_px, 3), captured by torch.export for batches of any size. Raises
    EngineError, naming the network by `name`, where torch cannot capture it as a whole."""
    # It is saved with the program, so it is no real image. torch would take a batch of 1 for the only size.
    example_bhwc = torch.zeros(2, side_px, side_px, 3, dtype=torch.uint8)
    with quiet(f"{name} cannot be captured by torch.export", "choose --format safetensors, which holds its weights "
                  "alone"):
        program = torch.export.export(module, (example_bhwc,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    for graph in program.graph_module.modules():
        for node in graph.graph.nodes if isinstance(graph, torch.fx.GraphModule) else ():
            # It holds paths of this machine, and would be saved.
            node.meta.pop("stack_trace", None)
    return program


def to_bytes(program: torch.export.ExportedProgram, metadata: Mapping[str, object]) -> bytes:
    """The content of a .pt2 file: the program, and the metadata as METADATA_FILE among its extra files."""
    buffer = io.BytesIO()
    with quiet("the torch.export program cannot be saved", "choose --format safetensors"):
        torch.export.save(program, buffer, extra_files={METADATA_FILE: json.dumps(as_texts(metadata))})
    return buffer.getvalue()


def from_bytes(content: bytes, name: str) -> tuple[nn.Module, dict[str, object]]:
    """(the program as a module, metadata) of a .pt2 file; EngineError if it is damaged or not Cadence's."""
    extra = {METADATA_FILE: ""}
    with suppress(ImportError):
        # Defines the operations of quantised programs.
        import_module("torch.ao.quantization.fx._decomposed")
    with quiet(f"{name} cannot be read as a torch.export program", "export the network again"):
        module = torch.export.load(io.BytesIO(content), extra_files=extra).module()
    try:
        texts = dict(json.loads(extra[METADATA_FILE]))
    except (TypeError, ValueError):
        texts = {}
    return module, from_texts(texts, name)


def compiled(module: nn.Module) -> Logits:
    """The program with frozen weights, which its first calls compile for this CPU; EngineError if that fails."""
    from torch._inductor import config

    inner = torch.compile(module, dynamic=True)
    errors = (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError)

    def call(images_bhwc: torch.Tensor) -> torch.Tensor:
        with quiet("--format int8: torch.compile failed on the program", "check that a C++ compiler is installed (apt "
                      "install g++)", errors), torch.no_grad(), config.patch(freezing=True):
            return inner(images_bhwc)

    return call
