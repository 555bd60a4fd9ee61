"""torch.export programs as files: through bytes and back with the same answers, what is refused, what they hold."""

import io
import json
import zipfile
from pathlib import Path

import pytest
import torch

from engine.common.errors import EngineError
from engine.exporting import metadata, torch_program
from tests.engine.exporting.networks import TOLD, captured, expected, images

ROOT = str(Path(__file__).resolve().parents[3])


def test_a_program_comes_back_with_its_answers_for_any_batch():
    module, told = torch_program.from_bytes(torch_program.to_bytes(captured(), TOLD), "m.pt2")
    assert told == TOLD
    for count in (1, 2, 7):
        torch.testing.assert_close(module(images(count)), expected(images(count)), atol=1e-5, rtol=1e-5)


def test_a_file_holds_no_image_and_no_path_of_this_machine():
    content = torch_program.to_bytes(captured(), TOLD)
    weights = sum(tensor.nbytes for tensor in captured().state_dict.values())
    assert len(content) < weights + 100_000
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = [archive.read(name) for name in archive.namelist()]
    assert any(b"aten.conv2d" in part for part in parts)
    assert not any(ROOT.encode() in part or b"site-packages" in part for part in parts)


def test_bytes_of_no_such_file_are_refused_in_one_line():
    whole = torch_program.to_bytes(captured(), TOLD)
    for content in (b"", b"no such file at all", whole[:len(whole) // 2]):
        with pytest.raises(EngineError, match="m.pt2 cannot be read") as refused:
            torch_program.from_bytes(content, "m.pt2")
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("extra", [{}, {metadata.METADATA_FILE: json.dumps("other")}, {metadata.METADATA_FILE: "{"}])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_programs_of_others_are_refused(extra):
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
    with pytest.raises(EngineError, match="see that a C.. compiler is installed") as refused:
        torch_program.compiled(captured().module())(images(2))
    assert "\n" not in str(refused.value)
