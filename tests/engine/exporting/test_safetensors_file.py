"""safetensors files: through bytes and back bit for bit, and what is refused."""

import pytest
import torch

from engine.common.errors import EngineError
from engine.exporting import safetensors_file
from tests.engine.exporting.networks import METADATA, portable

safetensors = pytest.importorskip("safetensors.torch")


def test_weights_come_back_bit_for_bit_and_contiguous():
    state = portable().network.state_dict()
    weights, metadata = safetensors_file.from_bytes(safetensors_file.to_bytes(state, METADATA), "m.safetensors")
    assert metadata == METADATA
    assert weights.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(weights[name], tensor) and weights[name].dtype == tensor.dtype
        assert weights[name].is_contiguous()


def test_other_files_are_refused_in_one_line():
    whole = safetensors_file.to_bytes({"a": torch.ones(9)}, METADATA)
    for content in (b"", b"no such file at all", whole[:len(whole) // 2]):
        with pytest.raises(EngineError, match="m.safetensors is damaged or not a safetensors file") as refused:
            safetensors_file.from_bytes(content, "m.safetensors")
        assert "\n" not in str(refused.value)
    with pytest.raises(EngineError, match="m.safetensors was not exported by Cadence"):
        safetensors_file.from_bytes(safetensors.save({"a": torch.ones(2)}), "m.safetensors")
