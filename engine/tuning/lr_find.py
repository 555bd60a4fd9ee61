"""The learning-rate range test of a recipe: build its run, train it, suggest a rate, draw the curve."""

from contextlib import closing
from pathlib import Path

from engine.build.run import build
from engine.cli.console import Screen
from engine.optim.schedule import Exponential
from engine.plots.lr_curve import draw_lr_curve
from engine.tuning.lr_range import suggest, train_rising
from recipes.settings.load import Recipe


def find_lr(recipe: Recipe, steps: int, low: float, high: float, screen: Screen) -> dict:
    """Train the recipe's first stage with rates from `low` to `high`; the result as plain values.

    Keys: recipe, stage, stages (how many there are), low, high, steps (planned), suggestion, careful, edge and faint
    (see lr_range.Suggestion), own_lr (the recipe's highest rate), lrs (pattern of parameters -> suggested rate), rates,
    losses and smoothed (one value per step done), device, precision, seed, command.
    """
    with closing(build(recipe, on_progress=screen.writing, on_warning=screen.say)) as run:
        stage, stages, step = run.loop.stage, len(run.loop.stages), run.step
        screen.say(f"{recipe.name} on {run.device}, {run.precision.name}: up to {steps:,} steps, rates {low:g} to "
                   f"{high:g}")
        if stages > 1:
            screen.say(f"only stage {stage.name}, the first of {stages}, is tried")
        step.begin(step.optimizer, Exponential(low, high, steps))
        run.loop.set_modes(stage)
        test = train_rising(step, run.feeds.train, steps, lambda done, rate, loss: screen.say(
            f"step {done:>4}/{steps}  rate {rate:.3g}  loss {loss:.4f}"))
    found, own = suggest(test), max(stage.lrs.values())
    return {"recipe": recipe.name, "stage": stage.name, "stages": stages, "low": low, "high": high, "steps": steps,
            "suggestion": found.steepest, "careful": found.careful, "edge": found.edge, "faint": found.faint,
            "own_lr": own, "lrs": {pattern: found.steepest * lr / own for pattern, lr in stage.lrs.items()},
            "rates": test.rates, "losses": test.losses, "smoothed": test.smoothed.tolist(),
            "device": str(run.device), "precision": run.precision.name, "seed": recipe.section("train").seed,
            "command": f"{recipe.command('engine.lr_find')} --steps {steps} --low {low:g} --high {high:g}"}


def draw(found: dict, path: Path) -> Path:
    """Draw the curve of a result; the recipe's own rate is marked where the test reached it."""
    marks = {"steepest fall": found["suggestion"], "a tenth of the lowest's": found["careful"]}
    if found["rates"][0] <= found["own_lr"] <= found["rates"][-1]:
        marks["the recipe's own"] = found["own_lr"]
    return draw_lr_curve(found["rates"], found["losses"], found["smoothed"], marks, path,
                         f"Learning rate of {found['recipe']}, stage {found['stage']}")


def summary_rows(found: dict, picture: Path) -> list[tuple[str, str]]:
    """(name, value) rows that sum up a result."""
    rows = [("suggestion", f"{found['suggestion']:.2g} (the loss falls fastest)"),
            ("more careful", f"{found['careful']:.2g} (a tenth of the rate with the lowest loss)"),
            ("the recipe's own", f"{found['own_lr']:g}")]
    if len(found["lrs"]) > 1:
        rows.insert(1, ("its parts", ", ".join(f"{name} {lr:.2g}" for name, lr in found["lrs"].items())))
    if found["stages"] > 1:
        rows.append(("stage", f"{found['stage']}, the first of {found['stages']}"))
    if found["faint"]:
        rows.append(("but", "the loss falls by little more than its noise: try more --steps"))
    if found["edge"]:
        rows.append(("but", {"low": "the loss falls fastest at the start: try a lower --low",
                             "high": "the loss still falls at the end: try a higher --high"}[found["edge"]]))
    return [*rows, ("steps", f"{len(found['rates']):,} of {found['steps']:,}, to rate {found['rates'][-1]:.2g}"),
            ("picture", str(picture))]
