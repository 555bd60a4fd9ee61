"""A trained network's exported files: made in memory, checked on real images against the network, then written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from engine.common.errors import EngineError
from engine.common.files import make_folder, write_atomic
from engine.exporting import int8, latency, metadata, onnx_file, safetensors_file, torch_program, verify
from engine.exporting.loading import read_back
from engine.exporting.portable import Portable, to_program
from engine.exporting.verify import Answer, Check
from engine.inference.sample_images import Samples
from engine.inference.trained import Trained
from engine.storage import export_formats
from engine.storage.shared_folder import public_values

BATCHES = (1, 64)


@dataclass(frozen=True)
class Made:
    """One format's file, in memory, and how it answers."""

    content: bytes
    check: Check
    latencies: Mapping[int, Mapping[str, latency.Latency]]


def make(trained: Trained, names: Sequence[str], samples: Samples, calibration: Samples,
         pruned: Mapping[str, object] | None, say: Callable[[str], None]) -> tuple[float, dict[str, Made]]:
    """(top-1 of the network itself on `samples`, each format's file, in memory, checked on them).

    The network must be on the CPU. calibration: training images, for int8; pruned: how it was, for the metadata. `say`
    is told of what takes long. Raises EngineError for a format that the network cannot have, and where a file answers
    otherwise than it must.
    """
    expected = verify.answers(trained.logits, samples.images_bhwc)
    if not expected.isfinite().all():
        raise EngineError(f"{trained.path} gives logits that are not finite: there is nothing to export; train it "
                          "again with a smaller schedule.lr")
    top1 = verify.top1(expected, samples.labels)
    captured = None
    if set(names) - {"safetensors"}:
        module = Portable(trained.model, trained.to_input.scale, trained.to_input.shift).eval()
        captured = to_program(module, trained.side_px, f"model.name={trained.recipe.section('model').name}")
    made = {}
    for name in names:
        content = content_of(name, trained, captured, calibration, pruned)
        answer, speeds = read_back(content, export_formats.FILES[name]).logits, {}
        if name == "int8":
            say("int8: compiling it, and fp32 beside it, for this CPU")
            answer = torch_program.compiled(answer)
        check = verify.check(expected, verify.answers(answer, samples.images_bhwc), samples.labels)
        if name == "int8":
            verify.refuse(name, check, verify.LEAST_AGREEMENT_LOW)
            verify.refuse_loss(name, check, top1)
            speeds = speeds_of({"fp32": torch_program.compiled(captured.module()), "int8": answer}, samples.images_bhwc)
        else:
            verify.refuse(name, check)
            verify.refuse_difference(name, check)
        made[name] = Made(content, check, speeds)
    return top1, made


def content_of(name: str, trained: Trained, captured: torch.export.ExportedProgram | None, calibration: Samples,
               pruned: Mapping[str, object] | None) -> bytes:
    """The file of format `name`; `captured` is the network's program, which safetensors does not need."""
    if name == "safetensors":
        return safetensors_file.to_bytes(trained.model.state_dict(),
                                         description(trained, pruned, metadata.NORMALISED_IN))
    told = description(trained, pruned, metadata.PIXELS_IN)
    if name == "onnx":
        return onnx_file.to_bytes(captured, told)
    program = int8.quantise(captured, calibration.images_bhwc) if name == "int8" else captured
    return torch_program.to_bytes(program, told)


def speeds_of(answer_by_name: Mapping[str, Answer],
              images_bhwc: torch.Tensor) -> dict[int, dict[str, latency.Latency]]:
    """Batch size -> name -> the time that an answer takes, for BATCHES, on this CPU with torch's threads."""
    found = {}
    for size in BATCHES:
        # As many as asked for, also of a small split.
        batch = images_bhwc[torch.arange(size) % len(images_bhwc)]
        found[size] = latency.latencies({name: partial(answer, batch) for name, answer in answer_by_name.items()})
    return found


def description(trained: Trained, pruned: Mapping[str, object] | None, layout: str) -> dict[str, object]:
    """The metadata of the network's files, for images of `layout`."""
    recipe = trained.recipe
    data = recipe.section("data")
    return metadata.describe(
        layout, recipe=recipe.name, dataset=data.name, model=recipe.get("model.arch", recipe.section("model").name),
        policy=recipe.section("augment").policy, class_names=trained.class_names, side_px=trained.side_px,
        mean=data.mean, std=data.std, epoch=trained.epoch, settings=public_values(recipe), pruned=pruned)


def write(made: Mapping[str, Made], folder: Path) -> dict[str, Path]:
    """Write the files into `folder`, which is made where it is not there: format -> file."""
    make_folder(folder)
    paths = {name: folder / export_formats.FILES[name] for name in made}
    for name, path in paths.items():
        write_atomic(path, made[name].content)
    return paths
