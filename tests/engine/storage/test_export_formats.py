"""Which formats there are, and what each needs."""

import sys

import pytest

from engine.common.errors import EngineError
from engine.storage import export_formats


def test_a_list_is_taken_in_its_order_each_once():
    assert export_formats.parse("onnx, int8,onnx,safetensors") == ("onnx", "int8", "safetensors")


@pytest.mark.parametrize("text", ["pickle", "", "onnx,", "ONNX"])
def test_an_unknown_format_is_refused_with_those_there_are(text):
    with pytest.raises(EngineError, match="is unknown: give one or more of safetensors,torch-export,onnx,int8"):
        export_formats.parse(text)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs the extra export")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    export_formats.need(["safetensors", "torch-export", "int8"])
    with pytest.raises(EngineError) as refused:
        export_formats.need(["safetensors", "onnx"])
    assert str(refused.value) == "--format onnx needs the onnxscript package: pip install 'cadence-train[export]'"


def test_each_format_has_a_file_of_its_own_and_its_needs():
    assert set(export_formats.FILES) == set(export_formats.NEEDS)
    assert len(set(export_formats.FILES.values())) == len(export_formats.FILES)
