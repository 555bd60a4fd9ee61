"""Quantisation to int8: nearly the same logits, a quarter of the weights' size, the program unchanged."""

import pytest
import torch

from engine.common.errors import EngineError
from engine.exporting import int8, torch_program
from engine.exporting.torch_program import Portable, to_program
from engine.training.forward import ToInput
from tests.engine.exporting.networks import METADATA, SIDE_PX, Shared, captured, images

pytest.importorskip("torchao")


@pytest.mark.slow("quantises a network")
def test_int8_gives_nearly_the_networks_logits_and_takes_a_quarter_of_its_weights():
    torch.manual_seed(0)
    network = Shared()
    network(torch.randn(64, 3, SIDE_PX, SIDE_PX))
    # Pixels become x / 64 - 2.
    module = Portable(network, ToInput((128 / 255,) * 3, (64 / 255,) * 3, torch.device("cpu"))).eval()
    plain = to_program(module, SIDE_PX, "shared")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    made = int8.quantise(plain, images(100))
    read, metadata = torch_program.from_bytes(torch_program.to_bytes(made, METADATA), "m.pt2")
    assert metadata == METADATA
    for count in (1, 7, 50):
        images_bhwc = images(count, seed=1)
        with torch.no_grad():
            actual, expected = read(images_bhwc), module(images_bhwc)
        assert (actual - expected).abs().max() < 0.05 * expected.abs().max()
        assert not torch.equal(actual, expected)
    convolutions = [t for t in made.state_dict.values() if t.dim() == 4 and t.shape[2:] == (3, 3)]
    assert {t.dtype for t in convolutions} == {torch.int8} and len(convolutions) == 2
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_refusal_of_torchao_is_one_line(monkeypatch):
    def failing(*_):
        raise ValueError("no such\npartition")

    monkeypatch.setattr("torchao.quantization.pt2e.quantize_pt2e.prepare_pt2e", failing)
    with pytest.raises(EngineError, match="torchao cannot quantise this network .no such.: choose") as refused:
        int8.quantise(captured(), images(8))
    assert "\n" not in str(refused.value)
