"""What bounds the run of a recipe: build it, measure it, draw its roofline, write and show the diagnosis."""

from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from engine.build.run import build
from engine.cli.console import Screen
from engine.common.files import make_folder, write_json
from engine.diagnostics.advice import rate_text, share_text
from engine.diagnostics.bottleneck import diagnose
from engine.plots.roofline import draw_roofline
from recipes.settings.load import Recipe


def report_bottleneck(recipe: Recipe, seconds: float, folder: Path, json_file: str | None) -> None:
    """Write doctor.json and roofline.png into `folder`, doctor.json to `json_file` too, and show the diagnosis."""
    make_folder(folder)
    with Screen() as screen:
        report = measure(recipe, seconds, folder / "roofline.png", screen)
        for path in filter(None, (folder / "doctor.json", json_file)):
            write_json(Path(path), report)
        show(report, screen)


def measure(recipe: Recipe, seconds: float, picture: Path, screen: Screen) -> dict:
    """Measure each part of the recipe's run for about `seconds` and draw its roofline; the result as plain values.

    Keys: recipe, stage, stages (how many there are), device, seconds, the fields of bottleneck.Diagnosis, step_flops_s
    (reached), picture, command.
    """
    with closing(build(recipe, on_progress=screen.writing, on_warning=screen.say)) as run:
        stage, stages = run.loop.stage, len(run.loop.stages)
        screen.say(f"measuring {recipe.name} on {run.device}, {run.precision.name}, {run.feeds.kind} feed, "
                   f"{run.step.mode} step: about {seconds:g} s per part ...")
        if stages > 1:
            screen.say(f"only stage {stage.name}, the first of {stages}, is measured")
        found = diagnose(run, seconds)
    step_flops_s = found.rates.step * found.work.flops
    draw_roofline(found.peaks.flops_s, found.peaks.bytes_s,
                  {f"{recipe.name}'s step": (found.work.flops_per_byte, step_flops_s)}, picture,
                  f"Roofline of {recipe.name}, {found.facts.precision}, batches of {found.facts.batch:,}, "
                  f"{found.side_px} px")
    return {"recipe": recipe.name, "stage": stage.name, "stages": stages, "device": str(run.device),
            "seconds": seconds, **asdict(found), "step_flops_s": step_flops_s, "picture": str(picture),
            "command": f"{recipe.command('engine.doctor')} --seconds {seconds:g}"}


def show(report: dict, screen: Screen) -> None:
    """Show the rates, the verdict, the advice and where the roofline is; `report` as `measure` returns it."""
    rates, reached, peak = report["rates"], report["step_flops_s"], report["peaks"]["flops_s"]
    precision, verdict = report["facts"]["precision"], report["verdict"]
    names = {"feed alone": "feed", "transfer alone": "transfer", "step alone": "step", "all together": "together"}
    screen.table(f"what bounds {report['recipe']}", [
        *((name, "none" if rates[key] is None else f"{rate_text(rates[key])} images/s") for name, key in names.items()),
        ("the step's arithmetic", f"{reached / 1e9:,.1f} GFLOP/s, {share_text(reached / peak[precision])} of the "
                                  f"{peak[precision] / 1e9:,.1f} of a matrix product measured in {precision}")])
    screen.say(verdict["sentence"])
    if verdict["advice"]:
        table = Table("setting to change", "images/s at most", "why", title="what would help", title_justify="left")
        for each in verdict["advice"]:
            table.add_row(each["setting"], rate_text(each["at_most_images_s"]), each["why"])
        screen.console.print(table)
    else:
        screen.say("no setting is known to help: the network, the image size and the machine remain")
    screen.say(f"roofline: {report['picture']}")
