"""Write a trained network for other programs: `python -m engine.export RUN_OR_CHECKPOINT --format onnx,safetensors`.

    safetensors    weights and all that builds the network around them; no pickle
    torch-export   a torch.export program (.pt2)
    onnx           for onnxruntime and others
    int8           a quantised torch.export program, for torch.compile on x86 CPUs

Each file is read back and compared with the network on test images before any is written. From Python,
`from engine.export import load; load("model.onnx").logits(images_bhwc)` reads all of them.
"""

import os
import sys
from pathlib import Path

from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from engine.storage.export_formats import FILES, need, parse


def main(argv: list[str] | None = None) -> int:
    """The door: parse, check, prune, make, write, tell."""
    parser = Parser("engine.export", __doc__)
    parser.add_argument("checkpoint", metavar="RUN_OR_CHECKPOINT", help="a run folder (its last.pt) or a .pt file")
    parser.add_argument("--format", metavar="LIST", help=f"one or more of {','.join(FILES)}")
    parser.add_argument("--best", action="store_true", help="the run's best.pt instead of its last.pt")
    parser.add_argument("--out", metavar="DIR", help="folder for the files (default: export/ in the run's)")
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="test images to check on (default: 1000)")
    parser.add_argument("--prune", type=float, metavar="SHARE", help="first set this share (0 to 1) to zero")
    parser.add_argument("--prune-kind", choices=("weights", "channels"), metavar="KIND",
                        help="of the single weights (default), or of whole output channels of convolutions: channels")
    parser.add_argument("--prune-epochs", type=int, metavar="E", help="then train on for E epochs (default: 1)")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON")
    options, settings = parser.read(argv)
    refused = [path for path in settings if not path.startswith("data.")]
    if refused:
        parser.error(f"--{refused[0]} has no effect on an export: only data.* settings have")
    if not options.format:
        parser.error(f"--format is missing: give one or more of {','.join(FILES)}")
    names = parse(options.format)
    need(names)
    check_numbers(options)
    if options.out:
        refuse_unwritable(Path(options.out))

    from engine.common.files import write_json
    from engine.exporting.pipeline import make, write
    from engine.exporting.results_table import show, summarise
    from engine.inference.sample_images import open_samples
    from engine.inference.trained import open_trained

    trained = open_trained(options.checkpoint, "best" if options.best else "last", device="cpu")
    folder = Path(options.out) if options.out else trained.run_folder / "export"
    refuse_unwritable(folder)
    recipe, samples, calibration = open_samples(trained, settings, options.images, say=print)
    pruned = None
    if options.prune is not None:
        from engine.exporting.prune_finetune import prune_and_tune

        epochs = 1 if options.prune_epochs is None else options.prune_epochs
        trained, pruned = prune_and_tune(trained, recipe, samples, kind=options.prune_kind or "weights",
                                         share=options.prune, epochs=epochs, say=print)
    top1, made = make(trained, names, samples, calibration, pruned, say=print)
    summary = summarise(trained, samples, top1, made, write(made, folder), pruned)
    show(summary)
    if options.json:
        write_json(Path(options.json), summary)
    return 0


def check_numbers(options) -> None:
    """EngineError for numbers out of range, and for what has an effect only on pruning."""
    if options.images < 2:
        raise EngineError(f"--images {options.images} must be 2 or more")
    if options.prune is None:
        given = {"--prune-kind": options.prune_kind, "--prune-epochs": options.prune_epochs}
        idle = next((name for name, value in given.items() if value is not None), None)
        if idle:
            raise EngineError(f"{idle} has no effect without --prune SHARE: give it, or leave {idle} out")
    elif not 0 < options.prune < 1:
        raise EngineError(f"--prune {options.prune:g} must be a share between 0 and 1, such as 0.3")
    elif (options.prune_epochs or 0) < 0:
        raise EngineError(f"--prune-epochs {options.prune_epochs} must be 0 or more")


def refuse_unwritable(folder: Path) -> None:
    """EngineError, before any work, where `folder` could not be made or written."""
    nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise EngineError(f"{folder} cannot be written, {nearest} is not a folder that can be: choose another with "
                          "--out DIR")


def load(path: str):
    """As engine.exporting.loading.load: an exported file as something that answers."""
    from engine.exporting import loading

    return loading.load(path)


if __name__ == "__main__":
    sys.exit(run_command(main))
