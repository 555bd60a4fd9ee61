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
from engine.inference.sample_images import SampleImages, open_sample_images
from engine.inference.trained import Trained
from engine.storage.export_formats import FILES

BATCHES = (1, 64)


def export(trained: Trained, settings: Mapping[str, object], names: Sequence[str], folder: Path, *, count: int,
           prune_share: float | None, prune_kind: str, prune_epochs: int) -> dict[str, object]:
    """Write `trained`, which must be on the CPU, to `folder` in the formats `names`; returns the summary.

    The files are checked on `count` images of the data that `settings` name. Prunes first unless prune_share is None.
    Prints a line before slow work. Raises EngineError as `make_files` and `prune_and_tune`.
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

    calibration: training images, for int8. pruned: how it was, for the metadata. Raises EngineError if the network
    cannot have a format, or a file's logits are too far from the network's.
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
        metadata = describe(trained, NORMALISED_IN if name == "safetensors" else PIXELS_IN, pruned)
        if name == "safetensors":
            contents[name] = safetensors_file.to_bytes(trained.model.state_dict(), metadata)
        elif name == "onnx":
            contents[name] = onnx_file.to_bytes(program, metadata)
        else:
            made = int8.quantise(program, calibration.images_bhwc) if name == "int8" else program
            contents[name] = torch_program.to_bytes(made, metadata)
        logits = read_back(contents[name], FILES[name]).logits
        if name == "int8":
            print("int8: compiling it and the fp32 program for this CPU")
            logits = torch_program.compiled(logits)
        checks[name] = verify.compare(expected, verify.all_logits(logits, samples.images_bhwc), samples.labels)
        verify.refuse(name, **checks[name], spread=(expected.max() - expected.min()).item(),
                      original_top1=top1 if name == "int8" else None)
        if name == "int8":
            compiled = {"fp32": torch_program.compiled(program.module()), "int8": logits}
            # Images repeat if there are fewer than a batch.
            batches = {size: samples.images_bhwc[torch.arange(size) % len(samples.labels)] for size in BATCHES}
            checks[name]["latency_ms"] = {
                str(size): latencies({kind: partial(call, batch_bhwc) for kind, call in compiled.items()})
                for size, batch_bhwc in batches.items()}
    return top1, contents, checks
