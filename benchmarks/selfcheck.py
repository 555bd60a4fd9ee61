"""Checks the fast code: step modes against the eager step, the device's augmentation against the host's.

    python -m benchmarks.selfcheck [--recipes A,B] [--modes compile,graph] [--json FILE] [--section.name=VALUE ...]

Each check has a row; the status is 1 if one fails. Recipes by default: quickstart.
"""

import sys
from contextlib import closing

from benchmarks.common.commands import chosen, names_in
from benchmarks.common.results import save_rows
from benchmarks.common.step_check import check_mode
from engine.build.datasets import open_betons, open_data
from engine.build.devices import choose_device
from engine.build.feeds import build_train_feed
from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from engine.data_tools.digest import sample_digests
from loaders.policy.named_policies import POLICIES
from recipes.settings import load

MODES = ("compile", "graph")
# Batches to compare per policy: the last ones of an epoch.
BATCHES = 4
# Settings that the embedded shapes lack; without data.name the pixels of shapes are compared.
FILE_SETTINGS = ("data.root", "data.download", "data.labels")


def main(argv: list[str] | None = None) -> int:
    parser = Parser("benchmarks.selfcheck", __doc__)
    parser.add_argument("--recipes", metavar="A,B", default="quickstart", help="recipes whose steps are compared")
    parser.add_argument("--modes", metavar="A,B", default="", help="step modes (default: all possible here)")
    parser.add_argument("--steps", type=int, default=50, metavar="N", help="steps to compare (50)")
    parser.add_argument("--json", metavar="FILE", help="rows go here")
    options, settings = parser.read(argv)
    if options.steps < 1:
        parser.error(f"--steps={options.steps} must be 1 or more")
    device = choose_device("auto")
    available = MODES if device.type == "cuda" else MODES[:1]
    modes = chosen("--modes", options.modes, MODES) if options.modes else available
    recipes = [load.load(name, settings=settings) for name in names_in(options.recipes)]
    rows = [mode_row(recipe, mode, options.steps) for recipe in recipes for mode in modes]
    rows += [pixel_row(policy, settings) for policy in POLICIES]
    for row in rows:
        print(f"{'ok    ' if row['ok'] else 'FAILED'} {row['name']}: {row['said']}")
    save_rows(options.json, rows, "benchmarks.selfcheck", argv, device=device.type)
    return 0 if all(row["ok"] for row in rows) else 1


def mode_row(recipe: load.Recipe, mode: str, steps: int) -> dict:
    name = f"{recipe.name}, step {mode} against eager"
    try:
        found = check_mode(recipe, mode, steps)
    except (EngineError, load.RecipeError) as error:
        return {"name": name, "ok": False, "said": str(error)}
    return {"name": name, "ok": True, "largest": found.largest, "mean": found.mean, "allowed": found.allowed,
            "said": f"losses of {found.steps} steps within {found.largest:.2e} of each other ({found.precision}, "
                    f"allowed {found.allowed:.0e})"}


def pixel_row(policy: str, settings: dict[str, str]) -> dict:
    """The row of a policy: are labels, indices and pixels of host and device equal in an epoch's last batches?"""
    device, digests = choose_device("auto"), {}
    data = {path: value for path, value in settings.items() if path.startswith("data.") and path != "data.feed"}
    if "data.name" not in data:
        data = {"data.train_count": 1000, "data.test_count": 100,
                **{path: value for path, value in data.items() if path not in FILE_SETTINGS}}
    recipe = load.load("quickstart", settings={**data, "augment.policy": policy, "train.batch": 50})
    betons = open_betons(recipe, open_data(recipe))
    for kind in ("stream", "resident"):
        with closing(build_train_feed(recipe.changed({"data.feed": kind}), betons, device, 1)) as feed:
            digests[kind] = sample_digests(feed, 1, start=max(0, len(feed) - BATCHES))
    same = digests["stream"] == digests["resident"]
    return {"name": f"policy {policy}, {device.type} against host", "ok": same,
            "said": f"{len(digests['stream'])} images, {'every bit equal' if same else 'they differ'}"}


if __name__ == "__main__":
    sys.exit(run_command(main))
