"""How fast a recipe's training should be: a model of speed.

    python -m benchmarks.model --device h200                                   # all recipes; needs no GPU
    python -m benchmarks.model --device h200,h100,a100 --recipes sprint10,resnet34 [--json FILE]
    python -m benchmarks.model --device cpu --recipes baseline,cnn4 --data.root=DIR [--seconds S] [--rounds N]

It traces each recipe's step on tensors without memory, and from its FLOPs, bytes and kernels and the device's rates
calculates the time of each part: feed (augmentation), matrix (convolutions and products of the passes), rest (norms,
activations, pooling, casts), update (clipping, optimiser, averages), launches. GPUs' rates are those of their data
sheets: nothing is faster than "at peak"; "expected" assumes the share of it that docs/speed.md gives reasons for.
The processor's rates are measured with kernels that are no recipe's, and epochs beside them, round by round.
"""

import sys
from collections.abc import Iterable
from dataclasses import asdict

from benchmarks.common.commands import chosen, names_in
from benchmarks.common.display import print_table
from benchmarks.common.results import label_of, save_rows
from benchmarks.modelling import cpu_check
from benchmarks.modelling.cards import CARDS, EXPECTED, Card
from benchmarks.modelling.predict import PARTS, Prediction, gpu_work, on_card
from engine.build.preflight import refuse_early
from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from recipes.settings.load import Recipe, load, names

CPU = "cpu"


def main(argv: list[str] | None = None) -> int:
    parser = Parser("benchmarks.model", __doc__)
    parser.add_argument("--device", metavar="A,B", default="", help=f"of {','.join(CARDS)}; or {CPU}, this processor")
    parser.add_argument("--recipes", metavar="A,B", default=",".join(names()), help="recipes (all)")
    parser.add_argument("--seconds", type=float, default=0.1, metavar="S",
                        help="with cpu: time per kernel and round; a step takes 50 times as long, at least once (0.1)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="with cpu: rounds (3)")
    parser.add_argument("--json", metavar="FILE", help="write rows here; rows of other names stay")
    options, settings = parser.read(argv)
    devices = chosen("--device", options.device, [*CARDS, CPU])
    if CPU in devices and len(devices) > 1:
        raise EngineError(f"--device={options.device}: {CPU} is measured by itself: give it alone")
    if not (0 < options.seconds < float("inf") and options.rounds > 0):
        parser.error("--seconds and --rounds must be above 0, and finite")
    recipes = [load(name, settings=settings) for name in names_in(options.recipes)]
    for recipe in recipes:
        refuse_early(recipe, data_needed=CPU in devices)
    if CPU in devices:
        rows = cpu_check.check([recipe.changed({"train.device": CPU}) for recipe in recipes], options.seconds,
                               options.rounds)
        show_check(rows)
        save_rows(options.json, rows, "benchmarks.model", argv)
        return 0
    found = [(recipe, gpu_work(recipe)) for recipe in recipes]
    for key in devices:
        rows = [(recipe, *on_card(work, recipe, CARDS[key])) for recipe, work in found]
        show(CARDS[key], rows)
        save_rows(options.json, [row_of(CARDS[key], *row) for row in rows], "benchmarks.model", argv)
    return 0


def row_of(card: Card, recipe: Recipe, expected: Prediction, at_peak: Prediction) -> dict:
    """A recipe's row for a card: figures at the peaks and expected ones, and the expected step part by part."""
    def both(figure: str, digits: int) -> dict[str, float]:
        return {name: round(getattr(prediction, figure), digits)
                for name, prediction in (("expected", expected), ("at_peak", at_peak))}

    label = label_of(recipe)
    return {"name": f"{label}, {card.name}", "label": label, "device": card.name, "batch": expected.batch,
            "steps": expected.steps, "images_per_second": both("images_per_second", 0),
            "epochs_per_second": both("epochs_per_second", 4), "run_s": both("run_s", 3),
            "bound_by": expected.bound_of(), "step_s": both("step_s", 7),
            "parts_s": {part: round(expected.part_s(part), 7) for part in PARTS},
            "bounds": {part: expected.bound_of(part) for part in PARTS}, "assumed": asdict(EXPECTED)}


def show(card: Card, rows: Iterable[tuple[Recipe, Prediction, Prediction]]) -> None:
    print_table(("recipe", "images/s", "epochs/s", "seconds to the end", *(f"{part}, us" for part in PARTS),
                 "bound by"),
                [(label_of(recipe), f"{expected.images_per_second:,.0f}", f"{expected.epochs_per_second:.3g}",
                  f"{expected.run_s:,.3g} ({at_peak.run_s:,.3g})",
                  *(f"{1e6 * expected.part_s(part):,.0f} {expected.bound_of(part)}" for part in PARTS),
                  expected.bound_of()) for recipe, expected, at_peak in rows],
                title=f"{card.name}, expected (in brackets: at peak); parts of a step")


def show_check(rows: Iterable[dict]) -> None:
    print_table(("recipe", "epochs/s, predicted", "measured", "predicted / measured",
                 *(f"{part}, ms" for part in PARTS), "bound by"),
                [(row["label"], f"{row['predicted_epochs_per_second']['median']:.4g}",
                  f"{row['measured_epochs_per_second']['median']:.4g}",
                  "{median:.2f} ({min:.2f} to {max:.2f})".format(**row["predicted_of_measured"]),
                  *(f"{1e3 * row['parts_s'][part]['median']:,.1f}" for part in PARTS), row["bound_by"])
                 for row in rows], title="this processor; parts of a step, predicted")


if __name__ == "__main__":
    sys.exit(run_command(main))
