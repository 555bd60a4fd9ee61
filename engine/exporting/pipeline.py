"""A trained network's exported files: made in memory, checked on real images against the network, then written."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from engine.common.environment import hardware, versions
from engine.common.errors import EngineError
from engine.common.files import make_folder, write_atomic
from engine.exporting import int8, onnx_file, safetensors_file, torch_program, verify
from engine.exporting.latency import latencies
from engine.exporting.loading import read_back
from engine.exporting.metadata import NORMALISED_IN, PIXELS_IN, describe
from engine.exporting.prune_finetune import prune_and_tune
from engine.exporting.verify import Logits
from engine.inference.sample_images import SampleImages, open_sample_images
from engine.inference.trained import Trained
from engine.storage.export_formats import FILES

BATCHES = (1, 64)


def export(trained: Trained, settings: Mapping[str, object], names: Sequence[str], folder: Path, *, count: int,
           prune_share: float | None, prune_kind: str, prune_epochs: int) -> dict[str, object]:
    """Write `trained`, which must be on the CPU, to `folder` in the formats `names`; returns the summary.

    The files are checked on `count` images of the data that `settings` name. Pruned first where prune_share is not
    None. Prints before what takes long. Raises EngineError as `make_files` and `prune_and_tune`.
    """
    recipe, samples, calibration = open_sample_images(trained, settings, count, say=print)
    pruned = None
    if prune_share is not None:
        trained, pruned = prune_and_tune(trained, recipe, samples, kind=prune_kind, share=prune_share,
                                         epochs=prune_epochs)
    top1, contents, checks = make_files(trained, names, samples, calibration, pruned)
    make_folder(folder)
    formats = {}
    for name, content in contents.items():
        write_atomic(folder / FILES[name], content)
        formats[name] = {"file": str(folder / FILES[name]), "bytes": len(content), **checks[name]}
    return {"checkpoint": str(trained.path), "recipe": trained.recipe.name, "dataset": trained.recipe.get("data.name"),
            "split": samples.split, "images": len(samples.labels), "top1": top1,
            "weights_bytes": sum(tensor.nbytes for tensor in trained.model.state_dict().values()), "pruned": pruned,
            "formats": formats, "hardware": hardware(torch.device("cpu")), "versions": versions()}


def make_files(trained: Trained, names: Sequence[str], samples: SampleImages, calibration: SampleImages,
               pruned: Mapping[str, object] | None) -> tuple[float, dict[str, bytes], dict[str, dict]]:
    """(the network's own top-1 on `samples`; format -> the file's content; format -> how it compares on `samples`).

    calibration: training images, for int8. pruned: how it was, for the metadata. Raises EngineError for a format that
    the network cannot have, and where a file's logits are too far from the network's.
    """
    expected = verify.all_logits(trained.logits, samples.images_bhwc)
    if not expected.isfinite().all():
        raise EngineError(f"{trained.path} gives logits that are not finite: there is nothing to export; train it "
                          "again with a smaller schedule.lr")
    top1 = verify.top1(expected, samples.labels)
    program = None
    if set(names) - {"safetensors"}:
        module = torch_program.Portable(trained.model, trained.to_input).eval()
        program = torch_program.to_program(module, trained.side_px, f"model.name={trained.recipe.get('model.name')}")
    contents, checks = {}, {}
    for name in names:
        contents[name] = content_of(name, trained, program, calibration, pruned)
        logits = read_back(contents[name], FILES[name]).logits
        if name == "int8":
            print("int8: compiling it, and fp32 beside it, for this CPU")
            logits = torch_program.compiled(logits)
        checks[name] = verify.compare(expected, verify.all_logits(logits, samples.images_bhwc), samples.labels)
        verify.refuse(name, **checks[name], spread=(expected.max() - expected.min()).item(),
                      original_top1=top1 if name == "int8" else None)
        if name == "int8":
            compiled = {"fp32": torch_program.compiled(program.module()), "int8": logits}
            checks[name]["latency_ms"] = {str(size): latencies_of(compiled, samples.images_bhwc, size)
                                          for size in BATCHES}
    return top1, contents, checks


def content_of(name: str, trained: Trained, program: torch.export.ExportedProgram | None, calibration: SampleImages,
               pruned: Mapping[str, object] | None) -> bytes:
    """The file of format `name`; `program` is the captured network, which safetensors does not need."""
    if name == "safetensors":
        return safetensors_file.to_bytes(trained.model.state_dict(), describe(trained, NORMALISED_IN, pruned))
    metadata = describe(trained, PIXELS_IN, pruned)
    if name == "onnx":
        return onnx_file.to_bytes(program, metadata)
    return torch_program.to_bytes(int8.quantise(program, calibration.images_bhwc) if name == "int8" else program,
                                  metadata)


def latencies_of(programs: Mapping[str, Logits], images_bhwc: torch.Tensor, size: int) -> dict[str, dict[str, float]]:
    """The programs' latencies for batches of `size` images, repeated where there are fewer, with torch's threads."""
    batch_bhwc = images_bhwc[torch.arange(size) % len(images_bhwc)]
    return latencies({name: partial(logits, batch_bhwc) for name, logits in programs.items()})
