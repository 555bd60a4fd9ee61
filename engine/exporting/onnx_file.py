"""ONNX files: made by torch's exporter, checked by onnx, run by onnxruntime."""

from collections.abc import Mapping

import torch

from engine.common.errors import EngineError
from engine.common.optional import import_extra
from engine.exporting.metadata import as_texts, from_texts
from engine.exporting.toolkits import quiet
from engine.exporting.verify import Logits

OPSET = 20
INPUT, OUTPUT = "images_bhwc", "logits"
# An ONNX file is one protobuf message.
LARGEST_BYTES = 2**31 - 1


def to_bytes(program: torch.export.ExportedProgram, metadata: Mapping[str, object]) -> bytes:
    """The content of a .onnx file of opset OPSET, metadata among its properties, accepted by onnx's checker.

    Input `images_bhwc`, uint8 (batch, side, side, 3); output `logits`, float32 (batch, classes). Raises EngineError
    if ONNX lacks one of the network's operations, or a file cannot hold its weights.
    """
    onnx = import_extra("onnx", "--format onnx", "export")
    # torch's exporter imports it.
    import_extra("onnxscript", "--format onnx", "export")
    size = sum(tensor.nbytes for tensor in program.state_dict.values())
    if size > LARGEST_BYTES:
        raise EngineError(f"--format onnx: an ONNX file holds 2 GiB, the network's weights are {size / 2**30:.1f} GiB: "
                          "choose torch-export or safetensors")
    with quiet("--format onnx: the network cannot be written as ONNX", "choose torch-export or safetensors",
                  (torch.onnx.errors.OnnxExporterError, onnx.checker.ValidationError)):
        made = torch.onnx.export(program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], opset_version=OPSET,
                                 dynamic_shapes=({0: "batch"},), verbose=False)
        made.model.metadata_props.update(as_texts(metadata))
        for node in made.model.graph.all_nodes():
            # The exporter's notes take more bytes than the graph.
            node.metadata_props.clear()
        proto = made.model_proto
        onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()


def from_bytes(content: bytes, name: str) -> tuple[Logits, dict[str, object]]:
    """(logits by onnxruntime on the CPU, metadata) of a .onnx file; EngineError if damaged or not Cadence's."""
    onnxruntime = import_extra("onnxruntime", "an .onnx file", "export")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    with quiet(f"{name} cannot be read as ONNX", "export the network again"):
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def logits(images_bhwc: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: images_bhwc.numpy()})[0])

    return logits, from_texts(session.get_modelmeta().custom_metadata_map, name)
