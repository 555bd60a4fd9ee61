"""Static int8 quantisation by torchao (PT2E), for inductor on x86 CPUs.

Weights become int8 with one scale per channel, activations uint8 with ranges from calibration images. The program
computes with quantise-dequantise pairs as loaded, and with the CPU's int8 instructions under torch.compile.
"""

import torch

from engine.common.optional import import_extra
from engine.exporting.toolkits import quiet
from engine.exporting.torch_program import to_program

CHUNK = 64


def quantise(program: torch.export.ExportedProgram, calibration_bhwc: torch.Tensor) -> torch.export.ExportedProgram:
    """A copy of `program` in int8, for batches of any size. calibration_bhwc: uint8 (N, side, side, 3), images of the
    training set. Raises EngineError if torchao cannot quantise the network."""
    with quiet("--format int8: torchao cannot quantise this network", "choose another format"):
        pt2e, x86 = (import_extra(f"torchao.quantization.pt2e.{name}", "--format int8", "export")
                     for name in ("quantize_pt2e", "quantizer.x86_inductor_quantizer"))
        quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
        module = program.module()
        _name_each_call(module)
        module = pt2e.prepare_pt2e(module, quantizer)
        with torch.no_grad():
            for images_bhwc in calibration_bhwc.split(CHUNK):
                module(images_bhwc)
        module = pt2e.convert_pt2e(module)
    _drop_unused(module)
    return to_program(module, calibration_bhwc.shape[1], "the quantised network")


def _name_each_call(module: torch.fx.GraphModule) -> None:
    """Give each operation its own module name: the quantiser finds layers by it, and would take a module that runs
    twice, such as a block's ReLU, for one layer with two outputs."""
    for node in module.graph.nodes:
        if node.op == "call_function" and node.meta.get("nn_module_stack"):
            *outer, (key, (path, kind)) = node.meta["nn_module_stack"].items()
            node.meta["nn_module_stack"] = {**dict(outer), key: (f"{path}@{node.name}", kind)}


def _drop_unused(module: torch.fx.GraphModule) -> None:
    """Remove the tensors that the graph no longer reads: the float weights."""
    read = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for name, _ in [*module.named_parameters(), *module.named_buffers()]:
        if name not in read:
            owner, _, attribute = name.rpartition(".")
            delattr(module.get_submodule(owner), attribute)
