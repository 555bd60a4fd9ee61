"""A recipe's diagnosis from its values to its tables: build the run, measure the machine and it, draw, tell."""

from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from engine.build.run import build
from engine.cli.console import Screen
from engine.diagnostics.advice import in_figures, in_percent
from engine.diagnostics.bottleneck import diagnose, precisions_of
from engine.diagnostics.peaks import measure_peaks
from engine.plots.roofline import draw_roofline
from recipes.settings.load import Recipe

# A machine's peaks need no more time than this.
LONGEST_PEAK_S = 1.0


def diagnose_recipe(recipe: Recipe, seconds: float, picture: Path, screen: Screen) -> dict:
    """Build the recipe's run, measure each of its parts for about `seconds`, draw its roofline to `picture`.

    The result as plain values: recipe, stage, stages (how many there are), device, seconds, the fields of
    bottleneck.Diagnosis, step_flops_s (reached), picture, command.
    """
    run = build(recipe, on_progress=screen.writing, on_warning=screen.say)
    try:
        stage, stages = run.loop.stage, len(run.loop.stages)
        screen.say(f"measuring {recipe.name} on {run.device}, {run.precision.name}, {run.feeds.kind} feed, "
                   f"{run.step.mode} step: about {seconds:g} s a part ...")
        if stages > 1:
            screen.say(f"only stage {stage.name}, the first of {stages}, is measured")
        found = diagnose(run, seconds, lambda: measure_peaks(run.device, precisions_of(run),
                                                             min(LONGEST_PEAK_S, seconds / 6)))
    finally:
        run.close()
    step_flops_s = found.rates.step * found.work.flops
    title = (f"Roofline of {recipe.name}, {found.facts.precision}, batches of {found.facts.batch:,}, "
             f"{found.side_px} px")
    draw_roofline(found.peaks.flops_s, found.peaks.bytes_s,
                  {f"{recipe.name}'s step": (found.work.flops_per_byte, step_flops_s)}, picture, title)
    return {"recipe": recipe.name, "stage": stage.name, "stages": stages, "device": str(run.device),
            "seconds": seconds, **asdict(found), "step_flops_s": step_flops_s, "picture": str(picture),
            "command": f"{recipe.command('engine.doctor')} --seconds {seconds:g}"}


def tell(report: dict, screen: Screen) -> None:
    """The rates, the verdict, what to change, where the picture is; `report` as diagnose_recipe gives it."""
    screen.table(f"what bounds {report['recipe']}", rate_rows(report))
    screen.say(report["verdict"]["sentence"])
    advice = report["verdict"]["advice"]
    if advice:
        table = Table("setting to change", "images/s at most", "why", title="what would help", title_justify="left")
        for each in advice:
            table.add_row(each["setting"], in_figures(each["at_most_images_s"]), each["why"])
        screen.console.print(table)
    else:
        screen.say("no setting is known to help: what is left is the network, the images' size and the machine")
    screen.say(f"roofline: {report['picture']}")


def rate_rows(report: dict) -> list[tuple[str, str]]:
    """(name, value) of the table of rates."""
    rates, precision, reached = report["rates"], report["facts"]["precision"], report["step_flops_s"]
    shown = [("feed alone", rates["feed"]), ("transfer alone", rates["transfer"]), ("step alone", rates["step"]),
             ("all together", rates["together"])]
    rows = [(name, "none" if rate is None else f"{in_figures(rate)} images/s") for name, rate in shown]
    peak = report["peaks"]["flops_s"][precision]
    return [*rows, ("the step's arithmetic", f"{reached / 1e9:,.1f} GFLOP/s, {in_percent(reached / peak)} of the "
                                             f"{peak / 1e9:,.1f} of a matrix product measured in {precision}")]
