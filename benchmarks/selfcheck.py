"""Is every fast way right? Step modes against the plain step, augmentation on the device against the host.

    python -m benchmarks.selfcheck [--recipes A,B] [--modes compile,graph] [--json FILE] [--section.name=VALUE ...]

Ends with status 1 where one of them is not; each check has its row. Recipes by default: quickstart.
"""

import sys
from pathlib import Path

import torch

from benchmarks.common.results import shareable, write_rows
from benchmarks.common.step_check import check_mode
from benchmarks.common.timing import environment
from engine.build.datasets import open_betons, open_data
from engine.build.feeds import build_train_feed
from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from engine.data_tools.digest import sample_digests
from loaders.policy.named_policies import POLICIES
from recipes.settings import load

MODES = ("compile", "graph")
# Batches of each policy whose pixels are compared.
BATCHES = 4
# Settings of data sets in files: the embedded shapes, which are compared where no data set is named, have none of them.
OF_FILES = ("data.root", "data.download", "data.labels")


def main(argv: list[str] | None = None) -> int:
    """The door: check, tell, write rows."""
    parser = Parser("benchmarks.selfcheck", __doc__)
    parser.add_argument("--recipes", metavar="A,B", default="quickstart", help="recipes whose steps are compared")
    parser.add_argument("--modes", metavar="A,B", default="", help="step modes (default: those this machine has)")
    parser.add_argument("--steps", type=int, default=50, metavar="N", help="steps to compare (50)")
    parser.add_argument("--json", metavar="FILE", help="rows go here")
    options, settings = parser.read(argv)
    if options.steps < 1:
        parser.error(f"--steps={options.steps} must be 1 or more")
    there = MODES if torch.cuda.is_available() else MODES[:1]
    modes = list(dict.fromkeys(options.modes.split(","))) if options.modes else there
    for mode in modes:
        if mode not in MODES:
            parser.error(f"--modes={options.modes} must be one or more of {','.join(MODES)}")
    rows = []
    for recipe in [load.load(name, settings=settings) for name in dict.fromkeys(options.recipes.split(","))]:
        rows += [mode_row(recipe, mode, options.steps) for mode in modes]
    rows += [pixel_row(policy, settings) for policy in POLICIES]
    for row in rows:
        print(f"{'ok    ' if row['ok'] else 'FAILED'} {row['name']}: {row['said']}")
    if options.json:
        words = ["python", "-m", "benchmarks.selfcheck", *(sys.argv[1:] if argv is None else argv)]
        device = "cuda" if torch.cuda.is_available() else "cpu"
        write_rows(Path(options.json), rows, environment(device), shareable(words), merge=True)
    return 0 if all(row["ok"] for row in rows) else 1


def mode_row(recipe: load.Recipe, mode: str, steps: int) -> dict:
    """A row for one step mode of one recipe."""
    name = f"{recipe.name}, step {mode} against eager"
    try:
        found = check_mode(recipe, mode, steps)
    except (EngineError, load.RecipeError) as error:
        return {"name": name, "ok": False, "said": str(error)}
    return {"name": name, "ok": True, "largest": found.largest, "mean": found.mean, "allowed": found.allowed,
            "said": f"losses of {found.steps} steps within {found.largest:.2e} of each other ({found.precision}, "
                    f"allowed {found.allowed:.0e})"}


def pixel_row(policy: str, settings: dict[str, str]) -> dict:
    """A row for one named policy: labels, indices and pixels of the host's and of the device's first batches."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    digests = {}
    data = {path: value for path, value in settings.items() if path.startswith("data.") and path != "data.feed"}
    if "data.name" not in data:
        own = {path: value for path, value in data.items() if path not in OF_FILES}
        data = {"data.train_count": 1000, "data.test_count": 100, **own}
    recipe = load.load("quickstart", settings={**data, "augment.policy": policy, "train.batch": 50})
    betons = open_betons(recipe, open_data(recipe))
    for kind in ("stream", "resident"):
        feed = build_train_feed(recipe.changed({"data.feed": kind}), betons, device, 1)
        try:
            # An epoch opened near its end holds just the batches that are compared.
            digests[kind] = sample_digests(feed, 1, start=max(0, len(feed) - BATCHES))
        finally:
            feed.close()
    same = digests["stream"] == digests["resident"]
    return {"name": f"policy {policy}, {device.type} against host", "ok": same,
            "said": f"{len(digests['stream'])} images, {'every bit equal' if same else 'they differ'}"}


if __name__ == "__main__":
    sys.exit(run_command(main))
