"""Does fine-tuning in stages pay? A pretrained network against random weights, on a tenth of CIFAR-10.

    python -m benchmarks.transfer --data.root=DIR [--seeds 3] [--json FILE]

The network of `pocket10` is pretrained on CIFAR-100, once. Then, on a tenth of CIFAR-10's training images (the rest is
held out for validation) and for equally many epochs, it is fine-tuned in three stages (head; upper group and head; all)
and trained from random weights by its own recipe. Both are measured on the test set once, at the end.
"""

import shlex
import subprocess
import sys
from pathlib import Path

from benchmarks.common.display import spread
from benchmarks.common.results import shareable, write_rows
from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from engine.common.files import read_json
from recipes.settings import load

RESULTS = Path(__file__).parent / "results" / "transfer.json"
# As pocket10 trains: everything but the stem.
RATES = {"head": 100.0, "groups.*.bias": 10.0, "groups": 0.1}
PRETRAIN = {"data.name": "cifar100", "train.sizes": {0: 20, 3: 24, 5: 32},
            "train.stages": [{"name": "all", "epochs": 6, "lrs": RATES, "frozen": ["stem"]}]}
# A tenth of the images is left for training; small batches give them enough updates.
LITTLE = {"data.name": "cifar10", "data.validation": 0.9, "train.batch": 125, "train.sizes": {}}
# Chosen on the held-out images, seed 0.
STAGES = [
    {"name": "head", "epochs": 1, "lrs": {"head": 100.0}, "frozen": ["*"]},
    {"name": "upper", "epochs": 2, "lrs": {"head": 100.0, "groups.2.*.bias": 10.0, "groups.2": 0.1}, "frozen": ["*"]},
    {"name": "all", "epochs": 9, "lrs": {"head": 100.0, "groups.*.bias": 10.0, "groups.2": 0.1, "groups": 0.05},
     "frozen": ["stem"]},
]
EPOCHS = sum(stage["epochs"] for stage in STAGES)
FROM_NOTHING = [{"name": "all", "epochs": EPOCHS, "lrs": RATES, "frozen": ["stem"]}]
# Settings that the comparison makes itself; the user's others apply to all runs.
OWN = {*PRETRAIN, *LITTLE, "model.weights", "train.seed", "train.repeats", "run.folder"}


def main(argv: list[str] | None = None) -> int:
    parser = Parser("benchmarks.transfer", __doc__)
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each, seeds 0..N-1 (default 3)")
    parser.add_argument("--json", default=str(RESULTS), metavar="FILE", help=f"rows go here (default {RESULTS.name})")
    parser.add_argument("--runs", default="runs/transfer", metavar="DIR", help="folder of the run folders")
    options, settings = parser.read(argv)
    if options.seeds < 1:
        parser.error(f"--seeds {options.seeds} must be 1 or more")
    if taken := sorted(OWN & set(settings)):
        parser.error(f"--{taken[0]} is set by the comparison itself: leave it out")
    rows, runs = [], Path(options.runs)
    train(runs / "pretrained", {**settings, **PRETRAIN})
    arms = {"fine-tuned in three stages": {"model.weights": str(runs / "pretrained" / "checkpoints" / "last.pt"),
                                           "train.stages": STAGES},
            "from nothing": {"train.stages": FROM_NOTHING}}
    for seed in range(options.seeds):
        for name, own in arms.items():
            summary = train(runs / f"{name.replace(' ', '_')}_{seed}",
                            {**settings, **LITTLE, **own, "train.seed": seed})
            rows.append({"name": f"{name} seed {seed}", "epochs": summary["epochs"], "seed": seed,
                         "test_top1": summary["test_top1"], "train_seconds": summary["train_seconds"],
                         "wall_seconds": summary.get("wall_seconds")})
            environment = {key: summary[key] for key in ("hardware", "versions", "commit")}
    words = ["python", "-m", "benchmarks.transfer", "--seeds", str(options.seeds),
             *(f"--{path}={value}" for path, value in settings.items())]
    write_rows(Path(options.json), rows, environment, shareable(words))
    for name in arms:
        top1 = [row["test_top1"] for row in rows if row["name"].startswith(name)]
        print(f"{name}, {EPOCHS} epochs: test top-1 {spread(top1)}, n {len(top1)}")
    return 0


def train(folder: Path, settings: dict[str, object]) -> dict:
    """The summary of pocket10 trained with `settings` into `folder`, unless a finished run is there already."""
    summary, advice = folder / "summary.json", "remove the folder and run again"
    if not summary.exists():
        recipe = load.load("pocket10", settings={**settings, "run.folder": str(folder)})
        status = subprocess.run([sys.executable, *shlex.split(recipe.command())[1:]]).returncode
        if status:
            raise EngineError(f"the run in {folder} ended with status {status}: {advice}")
    return read_json(summary, advice)


if __name__ == "__main__":
    sys.exit(run_command(main))
