"""Find a learning rate: train a recipe for some steps while the rate rises, and see where the loss falls fastest.

    python -m engine.lr_find --recipe NAME [--steps N] [--low LR] [--high LR] [--section.name=VALUE ...]

Network, data, augmentation, mixing and optimiser are the recipe's; of several stages the first is tried. The weights
are thrown away: lr_find.png and lr_find.json in --out are all that stays.
"""

import sys
from pathlib import Path

from engine import cli
from engine.errors import EngineError
from recipes import load

# What only a whole run looks at. (schedule.lrs gives the parts of the network their shares of the rate.)
IDLE = ("run.", "schedule.", "eval.", "checkpoint.", "log.", "average.ema", "train.epochs", "train.repeats",
        "train.stop_at", "train.patience", "train.min_delta")


def main(argv: list[str] | None = None) -> int:
    """The door: parse, check, build, train with rising rates, draw, tell."""
    parser = cli.Parser("engine.lr_find", __doc__)
    parser.add_argument("--recipe", metavar="NAME", help="which recipe (python -m engine.train --list shows them)")
    parser.add_argument("--config-file", metavar="FILE", help="settings in YAML or JSON, below the command line's")
    parser.add_argument("--steps", type=int, default=200, metavar="N", help="updates of the weights (200)")
    parser.add_argument("--low", type=float, default=1e-6, metavar="LR", help="the first rate (1e-6)")
    parser.add_argument("--high", type=float, default=10.0, metavar="LR", help="the last rate (10)")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON here too")
    parser.add_argument("--out", metavar="DIR", help="folder for picture and result (default: runs/lr_find/<recipe>)")
    options, settings = parser.read(argv)
    if not options.recipe:
        parser.error("--recipe is missing: python -m engine.train --list shows the recipes")
    if options.steps < 20:
        raise EngineError(f"--steps={options.steps} must be 20 or more: fewer losses are noise")
    if not 0 < options.low < options.high < float("inf"):
        raise EngineError(f"--low={options.low:g} and --high={options.high:g} must be rates above 0, the low one below "
                          "the high one")
    idle = [path for path in settings if path.startswith(IDLE) and path != "schedule.lrs"]
    if idle:
        raise EngineError(f"--{idle[0]} has no effect on the search for a rate: leave it out")
    recipe = load.load(options.recipe, options.config_file, settings)

    from engine.checks import refuse_early

    refuse_early(recipe)
    from engine.files import make_folder, write_json
    from engine.training.screen import Screen

    folder = make_folder(Path(options.out) if options.out else Path("runs", "lr_find", recipe.name))
    with Screen() as screen:
        found = search(recipe, options.steps, options.low, options.high, screen)
        picture = draw(found, folder / "lr_find.png")
        for path in (folder / "lr_find.json", *([Path(options.json)] if options.json else [])):
            write_json(path, found)
        screen.table(f"learning rate of {recipe.name}", rows(found, picture))
    return 0


def search(recipe: load.Recipe, steps: int, low: float, high: float, screen) -> dict:
    """Build the recipe's run, train it with rates from `low` to `high`; the result as plain values.

    Keys: recipe, stage, stages (how many there are), low, high, steps (planned), suggestion, careful, edge and faint
    (see lr_range.Suggestion), own_lr (the recipe's highest rate), lrs (each part's share of the suggestion), rates,
    losses and smoothed (one value a step done), device, precision, seed, command.
    """
    from engine.build import build
    from engine.optim.schedule import Exponential
    from engine.training.lr_range import suggest, train_rising

    run = build(recipe, on_progress=screen.writing, on_warning=screen.say)
    try:
        stage, step = run.loop.stage, run.step
        screen.say(f"{recipe.name} on {run.device}, {run.precision.name}: up to {steps:,} steps, rates {low:g} to "
                   f"{high:g}")
        if len(run.loop.stages) > 1:
            screen.say(f"only stage {stage.name}, the first of {len(run.loop.stages)}, is tried")
        step.begin(step.optimizer, Exponential(low, high, steps))
        run.loop.set_modes(stage)
        sweep = train_rising(step, run.feeds.train, steps, lambda done, rate, loss: screen.say(
            f"step {done:>4}/{steps}  rate {rate:.3g}  loss {loss:.4f}"))
    finally:
        run.close()
    found, own = suggest(sweep), max(stage.lrs.values())
    command = f"{recipe.command('engine.lr_find')} --steps {steps} --low {low:g} --high {high:g}"
    return {"recipe": recipe.name, "stage": stage.name, "stages": len(run.loop.stages), "low": low, "high": high,
            "steps": steps, "suggestion": found.steepest, "careful": found.careful, "edge": found.edge,
            "faint": found.faint, "own_lr": own,
            "lrs": {pattern: found.steepest * lr / own for pattern, lr in stage.lrs.items()},
            "rates": sweep.rates, "losses": sweep.losses, "smoothed": sweep.smoothed.tolist(),
            "device": str(run.device), "precision": run.precision.name, "seed": recipe.section("train").seed,
            "command": command}


def draw(found: dict, path: Path) -> Path:
    """The picture of a result; the recipe's own rate is marked where it was tried."""
    from engine.views.lr_curve import draw_lr_curve

    marks = {"steepest fall": found["suggestion"], "a tenth of the lowest's": found["careful"]}
    if found["rates"][0] <= found["own_lr"] <= found["rates"][-1]:
        marks["the recipe's own"] = found["own_lr"]
    return draw_lr_curve(found["rates"], found["losses"], found["smoothed"], marks, path,
                         f"Learning rate of {found['recipe']}, stage {found['stage']}")


def rows(found: dict, picture: Path) -> list[tuple[str, str]]:
    """(name, value) of the closing table."""
    shown = [("suggestion", f"{found['suggestion']:.2g} (the loss falls fastest)"),
             ("more careful", f"{found['careful']:.2g} (a tenth of the rate with the lowest loss)"),
             ("the recipe's own", f"{found['own_lr']:g}")]
    if len(found["lrs"]) > 1:
        shown.insert(1, ("its parts", ", ".join(f"{name} {lr:.2g}" for name, lr in found["lrs"].items())))
    if found["stages"] > 1:
        shown.append(("stage", f"{found['stage']}, the first of {found['stages']}"))
    if found["faint"]:
        shown.append(("but", "the loss falls by little more than its noise: try more --steps"))
    if found["edge"]:
        shown.append(("but", {"low": "the loss falls fastest at the start: try a lower --low",
                              "high": "the loss still falls at the end: try a higher --high"}[found["edge"]]))
    return [*shown, ("steps", f"{len(found['rates']):,} of {found['steps']:,}, to rate {found['rates'][-1]:.2g}"),
            ("picture", str(picture))]


if __name__ == "__main__":
    sys.exit(cli.run(main))
