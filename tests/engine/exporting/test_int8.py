"""Quantisation to int8: answers nearly the same, weights of a quarter of the size, the program left alone."""

import pytest
import torch

from engine.common.errors import EngineError
from engine.exporting import int8, torch_program
from engine.exporting.portable import Portable, to_program
from tests.engine.exporting.networks import SIDE_PX, TOLD, Shared, captured, images

pytest.importorskip("torchao")


def test_int8_answers_nearly_as_the_network_and_takes_a_quarter_of_its_weights():
    torch.manual_seed(0)
    network = Shared()
    network(torch.randn(64, 3, SIDE_PX, SIDE_PX))
    one, none = torch.full((1, 3, 1, 1), 1 / 64), torch.full((1, 3, 1, 1), -2.0)
    module = Portable(network, one, none).eval()
    plain = to_program(module, SIDE_PX, "shared")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    made = int8.quantise(plain, images(100))
    read, told = torch_program.from_bytes(torch_program.to_bytes(made, TOLD), "m.pt2")
    assert told == TOLD
    for count in (1, 7, 50):
        images_bhwc = images(count, seed=1)
        with torch.no_grad():
            came, wanted = read(images_bhwc), module(images_bhwc)
        assert (came - wanted).abs().max() < 0.05 * wanted.abs().max()
        assert not torch.equal(came, wanted)
    convolutions = [t for t in made.state_dict.values() if t.dim() == 4 and t.shape[2:] == (3, 3)]
    assert {t.dtype for t in convolutions} == {torch.int8} and len(convolutions) == 2
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_what_the_toolkit_refuses_is_one_line(monkeypatch):
    def failing(*_):
        raise ValueError("no such\npartition")

    monkeypatch.setattr("torchao.quantization.pt2e.quantize_pt2e.prepare_pt2e", failing)
    with pytest.raises(EngineError, match="torchao cannot quantise this network .no such.: choose") as refused:
        int8.quantise(captured(), images(8))
    assert "\n" not in str(refused.value)
