"""Search for a learning rate, and draw what was found."""

from pathlib import Path

from recipes.settings import load


def search(recipe: load.Recipe, steps: int, low: float, high: float, screen) -> dict:
    """Build the recipe's run, train it with rates from `low` to `high`; the result as plain values.

    Keys: recipe, stage, stages (how many there are), low, high, steps (planned), suggestion, careful, edge and faint
    (see lr_range.Suggestion), own_lr (the recipe's highest rate), lrs (each part's share of the suggestion), rates,
    losses and smoothed (one value a step done), device, precision, seed, command.
    """
    from engine.build.run import build
    from engine.optim.schedule import Exponential
    from engine.tuning.lr_range import suggest, train_rising

    run = build(recipe, on_progress=screen.writing, on_warning=screen.say)
    try:
        stage, step = run.loop.stage, run.step
        screen.say(f"{recipe.name} on {run.device}, {run.precision.name}: up to {steps:,} steps, rates {low:g} to "
                   f"{high:g}")
        if len(run.loop.stages) > 1:
            screen.say(f"only stage {stage.name}, the first of {len(run.loop.stages)}, is tried")
        step.start_stage(step.optimizer, Exponential(low, high, steps))
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
    from engine.plots.lr_curve import draw_lr_curve

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
