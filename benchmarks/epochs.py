"""How fast training is, compared with its peers: all timed in turns, in one run on this machine.

    python -m benchmarks.epochs --recipes baseline,resnet34 --data.root=DIR [--modes eager,compile] [--seconds S]
    python -m benchmarks.epochs --render            # the README's table and the picture from the existing rows

It times each feed and step mode of this engine; a: a loop in the style of the seeds (torchvision under a DataLoader,
the loss read in each step, their precision); b: a well-tuned plain PyTorch loop, with and without torch.compile; c:
FFCV's own operations under the tuned loop's step; the step alone, on batches in memory; a large matrix product. All
train the same network on the same data with the same batch size. A step mode counts only if its losses match the eager
step's. A recipe with stages is timed in its longest stage, at full image size, from new weights.
"""

import gc
import sys
from pathlib import Path

import torch

from benchmarks.common.commands import chosen, names_in
from benchmarks.common.readme import fill
from benchmarks.common.results import label_of, read_rows, save_rows
from benchmarks.common.step_check import check_mode
from benchmarks.throughput.contenders import time_ways
from benchmarks.throughput.epoch_rows import PEERS, failed_row
from benchmarks.throughput.epoch_table import draw, show, summary
from engine.build.devices import choose_device
from engine.build.preflight import refuse_early
from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from engine.training.executors import MODES
from recipes.settings import load

RESULTS = Path(__file__).parent / "results" / "epochs.json"
FEEDS = ("stream", "resident")
# Settings that this command chooses itself -> the option for it.
OPTION_OF = {"data.feed": "--feeds", "train.step": "--modes"}
# Enough that the schedule never ends while it is timed.
ENDLESS_EPOCHS = 100_000


def main(argv: list[str] | None = None) -> int:
    parser = Parser("benchmarks.epochs", __doc__)
    parser.add_argument("--recipes", metavar="A,B", default="", help="recipes to time, separated by commas")
    parser.add_argument("--modes", metavar="A,B", default="", help=f"of {','.join(MODES)} (default: all possible here)")
    parser.add_argument("--feeds", metavar="A,B", default=",".join(FEEDS), help="feeds (default: both)")
    parser.add_argument("--peers", metavar="A,B", default=",".join(PEERS), help="of a,b,c, or none (default: all)")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="time per round and way (3)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds (5)")
    parser.add_argument("--check-steps", type=int, default=50, metavar="N", help="steps that check a mode (50)")
    parser.add_argument("--json", metavar="FILE", help="add the rows to this file, and a picture beside it")
    parser.add_argument("--render", action="store_true", help=f"write the README's table from FILE ({RESULTS.name})")
    options, settings = parser.read(argv)
    names = names_in(options.recipes)
    if not names and not options.render:
        parser.error("--recipes is missing: name some, or --render the table from the existing rows")
    if not (0 < options.seconds < float("inf") and options.repeats > 0 and options.check_steps > 0):
        parser.error("--seconds, --repeats and --check-steps must be above 0, and finite")
    modes = chosen("--modes", options.modes or ",".join(MODES if torch.cuda.is_available() else MODES[:2]), MODES)
    feeds = chosen("--feeds", options.feeds, FEEDS)
    peers = [] if options.peers == "none" else chosen("--peers", options.peers, PEERS)
    for path in OPTION_OF.keys() & settings.keys():
        raise EngineError(f"--{path} has no effect here: choose with {OPTION_OF[path]}")
    recipes = [load.load(name, settings=settings) for name in names]
    for recipe in recipes:
        refuse_early(recipe)
    file = Path(options.json) if options.json else RESULTS if options.render else None
    for recipe in recipes:
        rows = time_recipe(recipe, feeds, modes, peers, options.seconds, options.repeats, options.check_steps)
        show(rows)
        if file:
            # After each recipe, so that a command that is interrupted keeps its rows.
            device = choose_device(recipe.section("train").device).type
            save_rows(str(file), rows, "benchmarks.epochs", argv, device=device)
    if file:
        rows = read_rows(file)
        draw(rows, file.with_suffix(".png"))
        if options.render:
            fill("epochs", summary(rows))
    return 0


def for_timing(recipe: load.Recipe) -> load.Recipe:
    """The recipe's longest stage without end, at full image size, from new weights."""
    length = {"train.epochs": ENDLESS_EPOCHS}
    if stages := recipe.section("train").stages:
        longest = max(stages, key=lambda stage: stage["epochs"])
        length = {"train.stages": ({**longest, "epochs": ENDLESS_EPOCHS},)}
    return recipe.changed({"train.sizes": {}, "model.weights": "", **length})


def time_recipe(recipe: load.Recipe, feeds: list[str], modes: list[str], peers: list[str], seconds: float, repeats: int,
                check_steps: int) -> list[dict]:
    """A row for each way of training `recipe`, timed in turns after the step modes were checked."""
    label, timed, checks, failed = label_of(recipe), for_timing(recipe), {}, []
    for mode in modes:
        try:
            checks[mode] = None if mode == "eager" else check_mode(timed.changed({"data.feed": feeds[0]}), mode,
                                                                   check_steps)
        except (EngineError, load.RecipeError) as error:
            print(f"{label}, step {mode} is not timed: {error}")
            failed.append(failed_row(label, f"step {mode}", "ours", str(error)))
    rows = time_ways(timed, feeds, checks, peers, seconds, repeats, label) if checks else []
    # So that the next recipe starts with the compiler's limits unused and the workers' memory free.
    torch._dynamo.reset()
    gc.collect()
    return rows + failed


if __name__ == "__main__":
    sys.exit(run_command(main))
