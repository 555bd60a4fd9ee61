"""safetensors files: through bytes and back bit for bit, and what is refused."""

import pytest
import torch

from engine.common.errors import EngineError
from engine.exporting import safetensors_file
from tests.engine.exporting.networks import TOLD, portable

safetensors = pytest.importorskip("safetensors.torch")


def test_weights_come_back_bit_for_bit_in_rows():
    state = portable().network.state_dict()
    weights, told = safetensors_file.from_bytes(safetensors_file.to_bytes(state, TOLD), "m.safetensors")
    assert told == TOLD
    assert weights.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(weights[name], tensor) and weights[name].dtype == tensor.dtype
        assert weights[name].is_contiguous()


def test_bytes_of_no_such_file_and_files_of_others_are_refused_in_one_line():
    whole = safetensors_file.to_bytes({"a": torch.ones(9)}, TOLD)
    for content in (b"", b"no such file at all", whole[:len(whole) // 2]):
        with pytest.raises(EngineError, match="m.safetensors is damaged or no safetensors file") as refused:
            safetensors_file.from_bytes(content, "m.safetensors")
        assert "\n" not in str(refused.value)
    with pytest.raises(EngineError, match="m.safetensors was not exported by Cadence"):
        safetensors_file.from_bytes(safetensors.save({"a": torch.ones(2)}), "m.safetensors")
