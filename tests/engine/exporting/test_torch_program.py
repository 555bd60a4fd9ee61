"""torch.export programs: their normalisation, to bytes and back with the same logits, what is refused, what is in."""

import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.common.errors import EngineError
from engine.exporting import metadata, torch_program
from tests.engine.exporting.networks import METADATA, SIDE_PX, captured, check_logits, expected, images, portable

ROOT = str(Path(__file__).resolve().parents[3])


def test_pixels_are_normalised_inside():
    torch.testing.assert_close(portable()(images(5)), expected(images(5)), atol=1e-5, rtol=1e-5)


def test_a_network_that_decides_by_its_data_is_refused_by_name():
    class Deciding(nn.Module):
        def forward(self, images_bhwc):
            return images_bhwc.float() if images_bhwc.sum() > 0 else -images_bhwc.float()

    with pytest.raises(EngineError, match="model.name=odd cannot be captured by torch.export") as refused:
        torch_program.to_program(Deciding(), SIDE_PX, "model.name=odd")
    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def content():
    return torch_program.to_bytes(captured(), METADATA)


def test_a_program_gives_the_networks_logits_for_any_batch(content):
    module, described = torch_program.from_bytes(content, "m.pt2")
    assert described == METADATA
    check_logits(module, 1e-5)


def test_a_file_holds_no_image_and_no_path_of_this_machine(content):
    weights = sum(tensor.nbytes for tensor in captured().state_dict.values())
    assert len(content) < weights + 100_000
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = [archive.read(name) for name in archive.namelist()]
    assert any(b"aten.conv2d" in part for part in parts)
    assert not any(ROOT.encode() in part or b"site-packages" in part for part in parts)


def test_other_files_are_refused_in_one_line(content):
    for other in (b"", b"no such file at all", content[:len(content) // 2]):
        with pytest.raises(EngineError, match="m.pt2 cannot be read") as refused:
            torch_program.from_bytes(other, "m.pt2")
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("extra", [{}, {metadata.METADATA_FILE: json.dumps("other")}, {metadata.METADATA_FILE: "{"}])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_files_of_other_programs_are_refused(extra):
    buffer = io.BytesIO()
    torch.export.save(captured(), buffer, extra_files=extra)
    with pytest.raises(EngineError, match="m.pt2 was not exported by Cadence"):
        torch_program.from_bytes(buffer.getvalue(), "m.pt2")


def test_a_compiler_that_fails_is_one_line(monkeypatch):
    def failing(module, dynamic):
        def call(images_bhwc):
            raise torch._dynamo.exc.BackendCompilerFailed(None, RuntimeError("no compiler\nat all"), None)

        return call

    monkeypatch.setattr(torch, "compile", failing)
    with pytest.raises(EngineError, match="check that a C.. compiler is installed") as refused:
        torch_program.compiled(captured().module())(images(2))
    assert "\n" not in str(refused.value)
