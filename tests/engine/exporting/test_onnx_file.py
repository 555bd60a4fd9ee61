"""ONNX files: to bytes and back with the same logits, what they declare, what is refused."""

from pathlib import Path

import pytest

from engine.common.errors import EngineError
from engine.exporting import onnx_file
from tests.engine.exporting.networks import METADATA, SIDE_PX, captured, check_logits

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow("exports networks to ONNX")
ROOT = str(Path(__file__).resolve().parents[3])


@pytest.fixture(scope="module")
def content():
    return onnx_file.to_bytes(captured(), METADATA)


def test_a_file_gives_the_networks_logits_for_any_batch(content):
    logits, metadata = onnx_file.from_bytes(content, "m.onnx")
    assert metadata == METADATA
    check_logits(logits, 1e-4)


def test_a_file_declares_its_layout_and_opset(content):
    model = onnx.load_from_string(content)
    (takes,), (gives,) = model.graph.input, model.graph.output
    assert [takes.name, gives.name] == ["images_bhwc", "logits"]
    assert takes.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    sides = [dim.dim_param or dim.dim_value for dim in takes.type.tensor_type.shape.dim]
    assert sides == ["batch", SIDE_PX, SIDE_PX, 3]
    assert {entry.version for entry in model.opset_import if not entry.domain} == {onnx_file.OPSET}


def test_a_file_holds_no_path_of_this_machine(content):
    assert ROOT.encode() not in content and b"site-packages" not in content


def test_other_files_are_refused_in_one_line(content):
    for bad in (b"", b"no such file at all", content[:len(content) // 2]):
        with pytest.raises(EngineError, match="m.onnx cannot be read as ONNX") as refused:
            onnx_file.from_bytes(bad, "m.onnx")
        assert "\n" not in str(refused.value)
    model = onnx.load_from_string(content)
    del model.metadata_props[:]
    with pytest.raises(EngineError, match="m.onnx was not exported by Cadence"):
        onnx_file.from_bytes(model.SerializeToString(), "m.onnx")


def test_more_weights_than_a_file_holds_are_refused(monkeypatch):
    monkeypatch.setattr(onnx_file, "LARGEST_BYTES", 1000)
    with pytest.raises(EngineError, match="an ONNX file holds 2 GiB"):
        onnx_file.to_bytes(captured(), METADATA)
