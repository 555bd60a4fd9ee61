"""torch.export programs as .pt2 files, and as functions that answer."""

import io
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module

import torch

from engine.common.errors import EngineError
from engine.exporting.metadata import METADATA_FILE, as_texts, from_texts
from engine.exporting.portable import quiet


def to_bytes(program: torch.export.ExportedProgram, metadata: Mapping[str, object]) -> bytes:
    """The content of a .pt2 file: the program, and the metadata as METADATA_FILE among its extra files."""
    buffer = io.BytesIO()
    with quiet():
        torch.export.save(program, buffer, extra_files={METADATA_FILE: json.dumps(as_texts(metadata))})
    return buffer.getvalue()


def from_bytes(content: bytes, name: str) -> tuple[torch.nn.Module, dict[str, object]]:
    """(the program as a module: uint8 (B, side, side, 3) to float32 (B, classes); metadata) of a .pt2 file.

    Raises EngineError where the file, called `name` there, is damaged or another program's.
    """
    extra = {METADATA_FILE: ""}
    with suppress(ImportError):
        # It defines the operations that quantised programs are made of.
        import_module("torch.ao.quantization.fx._decomposed")
    try:
        with quiet():
            module = torch.export.load(io.BytesIO(content), extra_files=extra).module()
    except Exception as error:  # torch.export documents no common base of what it raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise EngineError(f"{name} cannot be read as a torch.export program ({reason}): export the network "
                          "again") from None
    try:
        texts = json.loads(extra[METADATA_FILE] or "{}")
    except ValueError:
        texts = {}
    return module, from_texts(texts, name)


def compiled(module: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """The program compiled for this CPU, its weights frozen into the code; the first calls compile.

    EngineError where that fails.
    """
    from torch._inductor import config

    inner = torch.compile(module, dynamic=True)

    def call(images_bhwc: torch.Tensor) -> torch.Tensor:
        try:
            with torch.no_grad(), config.patch(freezing=True), quiet():
                return inner(images_bhwc)
        except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise EngineError(f"--format int8 is measured as torch.compile runs it, and that failed ({reason}): see "
                              "that a C++ compiler is installed (apt install g++)") from None

    return call
