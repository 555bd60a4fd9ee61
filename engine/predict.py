"""What pictures show: `python -m engine.predict RUN_OR_CHECKPOINT IMAGE_OR_FOLDER ... [--top 5] [--show] [--json]`."""

import sys
from typing import TYPE_CHECKING

from rich.console import Console

from engine.cli.parser import Parser, run_command

if TYPE_CHECKING:
    from engine.inference.predictor import Predictor


def load(run_or_file: str, which: str = "last", device: str = "auto") -> "Predictor":
    """From Python: `load(PATH)(image).top(5)`, see `engine.inference.predictor`; EngineError for a bad one."""
    from engine.inference import predictor as answers

    return answers.load(str(run_or_file), which, device)


def main(argv: list[str] | None = None) -> int:
    """The door: load the network, answer every picture, tell what could not be read; 1 where something could not."""
    parser = Parser("engine.predict", __doc__, settings=False)
    parser.add_argument("checkpoint", metavar="RUN_OR_CHECKPOINT", help="a run folder (its last.pt) or a .pt file")
    parser.add_argument("images", metavar="IMAGE_OR_FOLDER", nargs="+",
                        help="pictures in any format Pillow opens, and folders of them, which are walked")
    parser.add_argument("--best", action="store_true", help="the run's best.pt instead of its last.pt")
    parser.add_argument("--top", type=int, default=5, metavar="K", help="how many classes to name (default: 5)")
    parser.add_argument("--show", action="store_true", help="draw what the network sees into the terminal")
    parser.add_argument("--json", action="store_true", help="print one JSON list instead, an entry a picture")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where (default: auto)")
    options, _ = parser.read(argv)
    if options.top < 1:
        parser.error(f"--top={options.top} must be 1 or more")
    if options.show and options.json:
        parser.error("--show draws for people and --json prints for programs: keep one")
    if options.show and Console().color_system is None:
        parser.error("--show draws with colours, and the output is no terminal that has them: leave it out, or set "
                     "FORCE_COLOR=1")

    from engine.inference.predict_files import as_json, as_lines, predict

    predictor = load(options.checkpoint, "best" if options.best else "last", options.device)
    told = predict(predictor, options.images)
    return as_json(told, options.top) if options.json else as_lines(told, options.top, options.show)


if __name__ == "__main__":
    sys.exit(run_command(main))
