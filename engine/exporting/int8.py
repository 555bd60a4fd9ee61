"""Static int8 quantisation by torchao (PT2E), for inductor on x86 CPUs.

Weights become int8, a scale a channel; what flows between layers uint8, with the ranges that calibration images show.
The program computes with quantise-dequantise pairs wherever it is loaded, and with the CPU's int8 instructions once
torch.compile has seen it.
"""

from collections.abc import Iterable

import torch

from engine.common.errors import EngineError
from engine.exporting.portable import quiet, to_program


def quantise(program: torch.export.ExportedProgram, calibration_bhwc: torch.Tensor,
             chunk: int = 64) -> torch.export.ExportedProgram:
    """`program` in int8, for batches of any size; `program` itself stays as it is.

    calibration_bhwc: uint8 (N, side, side, 3), images of the training set. Raises EngineError where torchao has no way
    to quantise the network.
    """
    try:
        with quiet():
            converted = _converted(program.module(), calibration_bhwc.split(chunk))
    except Exception as error:  # torchao documents no common base of what it raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise EngineError(f"--format int8: torchao cannot quantise this network ({reason}): choose another "
                          "format") from None
    _drop_unused(converted)
    return to_program(converted, calibration_bhwc.shape[1], "the quantised network")


def _converted(module: torch.fx.GraphModule, batches: Iterable[torch.Tensor]) -> torch.fx.GraphModule:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    _tell_calls_apart(module)
    prepared = prepare_pt2e(module, quantizer)
    with torch.no_grad():
        for images_bhwc in batches:
            prepared(images_bhwc)
    return convert_pt2e(prepared)


def _tell_calls_apart(module: torch.fx.GraphModule) -> None:
    """Name the module that each operation comes from anew for each call.

    The quantiser finds layers by that name, and takes a module that is called twice, as a block's ReLU often is, for
    one layer with two outputs.
    """
    for node in module.graph.nodes:
        if node.op == "call_function" and node.meta.get("nn_module_stack"):
            *outer, (key, (path, kind)) = node.meta["nn_module_stack"].items()
            node.meta["nn_module_stack"] = {**dict(outer), key: (f"{path}@{node.name}", kind)}


def _drop_unused(module: torch.fx.GraphModule) -> None:
    """Remove the tensors that the graph does not read: the float weights that int8 ones stand for."""
    read = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for name, _ in [*module.named_parameters(), *module.named_buffers()]:
        if name not in read:
            owner, _, attribute = name.rpartition(".")
            delattr(module.get_submodule(owner), attribute)
