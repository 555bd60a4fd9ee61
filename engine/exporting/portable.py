"""The network as other programs take it: uint8 pixels in, logits out, the normalisation inside.

    program = to_program(Portable(model, scale, shift), 32, "resnet34")
    logits = program.module()(images_bhwc)
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from engine.common.errors import EngineError


class Portable(nn.Module):
    """uint8 (B, side, side, 3), RGB, to float32 logits (B, classes), for a network in evaluation mode.

    scale, shift: float32 (1, 3, 1, 1); the network sees `pixel * scale + shift`, as ToInput makes it in training.
    """

    def __init__(self, network: nn.Module, scale: torch.Tensor, shift: torch.Tensor):
        super().__init__()
        self.network = network
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, images_bhwc: torch.Tensor) -> torch.Tensor:
        images = torch.addcmul(self.shift, images_bhwc.permute(0, 3, 1, 2).float(), self.scale)
        return self.network(images).float()


def to_program(module: nn.Module, side_px: int, name: str) -> torch.export.ExportedProgram:
    """`module`, which takes uint8 (B, side_px, side_px, 3), by torch.export, for batches of any size.

    Raises EngineError, naming the network by `name`, where torch cannot capture it whole.
    """
    # It is saved with the program. A batch of 1 would be taken for the only size.
    example_bhwc = torch.zeros(2, side_px, side_px, 3, dtype=torch.uint8)
    try:
        with quiet():
            program = torch.export.export(module, (example_bhwc,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    except Exception as error:  # torch.export documents no common base of what it raises
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise EngineError(f"{name} cannot be exported: torch.export says: {reason}; choose --format safetensors, which "
                          "holds its weights alone") from None
    for graph in (inner for inner in program.graph_module.modules() if isinstance(inner, torch.fx.GraphModule)):
        for node in graph.graph.nodes:
            # They hold the paths of this machine, and would be saved.
            node.meta.pop("stack_trace", None)
    return program


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' warnings, which tell their authors' plans and not what a user could change."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
