"""Write a trained network for other programs: `python -m engine.export RUN_OR_CHECKPOINT --format onnx,safetensors`.

    safetensors    the weights, and how to build their network; no pickle
    torch-export   a torch.export program (.pt2)
    onnx           for onnxruntime and others
    int8           a quantised torch.export program, for torch.compile on x86 CPUs

Each file is read back and compared with the network on test images before any is written. From Python,
`from engine.export import load; load("model.onnx").logits(images_bhwc)` reads all of them.
"""

import sys
from pathlib import Path

from engine.cli.parser import Parser, run_command
from engine.common.files import refuse_unwritable_folder, write_json
from engine.storage.export_formats import FILES, need, parse


def main(argv: list[str] | None = None) -> int:
    """Parse, check, prune, make, write, show."""
    parser = Parser("engine.export", __doc__)
    parser.add_argument("checkpoint", metavar="RUN_OR_CHECKPOINT", help="a run folder (its last.pt) or a .pt file")
    parser.add_argument("--format", metavar="LIST", help=f"one or more of {','.join(FILES)}")
    parser.add_argument("--best", action="store_true", help="the run's best.pt instead of its last.pt")
    parser.add_argument("--out", metavar="DIR", help="folder for the files (default: export/ in the run's)")
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="test images to check on (default: 1000)")
    parser.add_argument("--prune", type=float, metavar="SHARE", help="first set this share of weights to zero (0 to 1)")
    parser.add_argument("--prune-kind", choices=("weights", "channels"), metavar="KIND",
                        help="prune single weights (default) or whole output channels of convolutions: channels")
    parser.add_argument("--prune-epochs", type=int, metavar="E", help="then fine-tune for E epochs (default: 1)")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON")
    options, settings = parser.read(argv)
    if refused := [path for path in settings if not path.startswith("data.")]:
        parser.error(f"--{refused[0]} has no effect on an export: only data.* settings have")
    if not options.format:
        parser.error(f"--format is missing: give one or more of {','.join(FILES)}")
    names = parse(options.format)
    need(names)
    if options.images < 2:
        parser.error(f"--images {options.images} must be 2 or more")
    if options.prune is not None and not 0 < options.prune < 1:
        parser.error(f"--prune {options.prune:g} must be a share between 0 and 1, such as 0.3")
    for name, value in (("--prune-kind", options.prune_kind), ("--prune-epochs", options.prune_epochs)):
        if options.prune is None and value is not None:
            parser.error(f"{name} has no effect without --prune SHARE: give it, or leave {name} out")
    epochs = 1 if options.prune_epochs is None else options.prune_epochs
    if epochs < 0:
        parser.error(f"--prune-epochs {epochs} must be 0 or more")
    if options.out:
        refuse_unwritable_folder(Path(options.out), "--out")

    from engine.exporting.pipeline import export
    from engine.exporting.results_table import show
    from engine.inference.trained import open_trained

    trained = open_trained(options.checkpoint, "best" if options.best else "last", device="cpu")
    folder = Path(options.out) if options.out else trained.run_folder / "export"
    refuse_unwritable_folder(folder, "--out")
    summary = export(trained, settings, names, folder, count=options.images, prune_share=options.prune,
                     prune_kind=options.prune_kind or "weights", prune_epochs=epochs)
    show(summary)
    if options.json:
        write_json(Path(options.json), summary)
    return 0


def load(path: str):
    """An exported file, read back: see engine.exporting.loading.load."""
    from engine.exporting import loading

    return loading.load(path)


if __name__ == "__main__":
    sys.exit(run_command(main))
