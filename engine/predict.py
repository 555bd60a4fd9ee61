"""Classify images: `python -m engine.predict RUN_OR_CHECKPOINT IMAGE_OR_FOLDER ... [--top 5] [--show] [--json]`."""

import sys
from os import PathLike

from rich.console import Console

from engine.cli.parser import Parser, run_command


def load(run_or_file: str | PathLike, which: str = "last", device: str = "auto"):
    """The engine.inference.predictor.Predictor of a run folder (its last.pt, or `which`.pt) or a .pt file."""
    from engine.inference.predictor import Predictor
    from engine.inference.trained import open_trained

    return Predictor(open_trained(str(run_or_file), which, device))


def main(argv: list[str] | None = None) -> int:
    """Parse, load the network, show its prediction for each image; 1 if an image could not be read."""
    parser = Parser("engine.predict", __doc__, settings=False)
    parser.add_argument("checkpoint", metavar="RUN_OR_CHECKPOINT", help="a run folder (its last.pt) or a .pt file")
    parser.add_argument("images", metavar="IMAGE_OR_FOLDER", nargs="+",
                        help="images in any format that Pillow opens, and folders, searched with their subfolders")
    parser.add_argument("--best", action="store_true", help="the run's best.pt instead of its last.pt")
    parser.add_argument("--top", type=int, default=5, metavar="K", help="how many classes to name (default: 5)")
    parser.add_argument("--show", action="store_true", help="draw what the network sees in the terminal")
    parser.add_argument("--json", action="store_true", help="print one JSON list instead, with an entry per image")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    options, _ = parser.read(argv)
    if options.top < 1:
        parser.error(f"--top={options.top} must be 1 or more")
    if options.show and options.json:
        parser.error("--show draws for people and --json prints for programs: keep one")
    if options.show and Console().color_system is None:
        parser.error("--show needs a terminal with colours: leave it out, or set FORCE_COLOR=1")

    from engine.inference.predict_files import predict_files, print_predictions

    predictor = load(options.checkpoint, "best" if options.best else "last", options.device)
    return print_predictions(predict_files(predictor, options.images), options.top, as_json=options.json,
                             show=options.show)


if __name__ == "__main__":
    sys.exit(run_command(main))
