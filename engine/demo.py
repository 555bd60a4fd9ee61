"""A page to try networks on: `python -m engine.demo RUN_OR_CHECKPOINT ... [--port 7860] [--share]`."""

import os
import signal
import sys
import tempfile
import threading

from engine.cli.parser import Parser, run_command


def main(argv: list[str] | None = None) -> int:
    """Parse, load the networks, serve the page on this machine until Ctrl-C."""
    parser = Parser("engine.demo", __doc__, settings=False)
    parser.add_argument("checkpoints", metavar="RUN_OR_CHECKPOINT", nargs="+",
                        help="run folders (their last.pt) or .pt files; with several, the page has a menu")
    parser.add_argument("--port", type=int, metavar="N", help="default: the first free one from 7860")
    parser.add_argument("--share", action="store_true",
                        help="also open an address through Gradio's servers, for a week, to anyone who knows it")
    parser.add_argument("--no-samples", action="store_true", help="offer no images from the networks' test sets")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    options, _ = parser.read(argv)
    if options.port is not None and not 1 <= options.port <= 65535:
        parser.error(f"--port={options.port} must be from 1 to 65535")
    twice = next((name for name in options.checkpoints if options.checkpoints.count(name) > 1), None)
    if twice:
        parser.error(f"{twice} is given twice: give each network once")

    # Gradio reads both variables on import. Uploads go into a folder that is removed with the page.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with tempfile.TemporaryDirectory(prefix="cadence_demo_") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads

        from engine.inference.demo_page import build_page
        from engine.inference.demo_server import serve
        from engine.inference.predictor import Predictor
        from engine.inference.sample_images import one_per_class
        from engine.inference.trained import open_trained

        predictors = {name: Predictor(open_trained(name, device=options.device)) for name in options.checkpoints}
        samples = {} if options.no_samples else {name: one_per_class(each.trained) for name, each in predictors.items()}
        with serve(build_page(predictors, samples), options.port, options.share) as addresses:
            print("\n".join([*(f"the page is at {address}" for address in addresses), "Ctrl-C ends it"]), flush=True)
            wait_for_a_signal()
    return 0


def wait_for_a_signal() -> None:
    """Return after Ctrl-C or SIGTERM."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    print("ended")


if __name__ == "__main__":
    sys.exit(run_command(main))
