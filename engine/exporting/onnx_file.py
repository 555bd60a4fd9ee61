"""ONNX files: made by torch's exporter, checked by onnx, run by onnxruntime."""

from collections.abc import Mapping

import torch

from engine.common.errors import EngineError
from engine.exporting.metadata import as_texts, from_texts
from engine.exporting.portable import quiet
from engine.exporting.verify import Answer

OPSET = 20
INPUT, OUTPUT = "images_bhwc", "logits"
# An ONNX file is one protobuf message.
LARGEST_BYTES = 2**31 - 1


def to_bytes(program: torch.export.ExportedProgram, metadata: Mapping[str, object]) -> bytes:
    """The content of a .onnx file of opset OPSET, metadata among its properties, that onnx's checker accepts.

    Input `images_bhwc`, uint8 (batch, side, side, 3); output `logits`, float32 (batch, classes). Raises EngineError
    where the network has an operation that ONNX lacks, or more weights than one file can hold.
    """
    import onnx

    size = sum(tensor.nbytes for tensor in program.state_dict.values())
    if size > LARGEST_BYTES:
        raise EngineError(f"--format onnx: an ONNX file holds 2 GiB, the network's weights are {size / 2**30:.1f} GiB: "
                          "choose torch-export or safetensors")
    try:
        with quiet():
            made = torch.onnx.export(program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT],
                                     opset_version=OPSET, dynamic_shapes=({0: "batch"},), verbose=False)
        made.model.metadata_props.update(as_texts(metadata))
        for node in made.model.graph.all_nodes():
            # The exporter's own notes, longer than the graph.
            node.metadata_props.clear()
        proto = made.model_proto
        onnx.checker.check_model(proto, full_check=True)
    except (torch.onnx.errors.OnnxExporterError, onnx.checker.ValidationError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise EngineError(f"--format onnx: the network cannot be written as ONNX ({reason}): choose torch-export or "
                          "safetensors") from None
    return proto.SerializeToString()


def from_bytes(content: bytes, name: str) -> tuple[Answer, dict[str, object]]:
    """(uint8 (B, side, side, 3) -> float32 (B, classes) by onnxruntime on the CPU; metadata) of a .onnx file.

    Raises EngineError where the file, called `name` there, is damaged or another program's.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base but this
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise EngineError(f"{name} cannot be read as ONNX ({reason}): export the network again") from None

    def answer(images_bhwc: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: images_bhwc.numpy()})[0])

    return answer, from_texts(session.get_modelmeta().custom_metadata_map, name)
