"""Checks a recipe's values against the schema (known, right type and range, with an effect) and each other."""

from collections.abc import Iterator, Mapping

from recipes.settings.length import combined
from recipes.settings.messages import RecipeError, did_you_mean, in_one_line, meant_setting
from recipes.settings.moments import in_epochs
from recipes.settings.schema import declare
from recipes.settings.setting import Setting

LENGTH = "train.epochs"


def check(base: Mapping[str, object], *given: Mapping[str, object],
          started: bool = False) -> tuple[dict[str, object], tuple[str, ...]]:
    """Every setting that applies, in the schema's order: the default, overridden by `base`, then by each of `given`.

    Also returns which settings followed a new length of the run, in proportion; started: as `combined`. A setting that
    does not apply is dropped from `base`. Raises RecipeError for one in `given`, for an unknown setting (with the
    nearest known one), a wrong type, or a value out of range.
    """
    config = declare()
    entries: dict[str, Setting] = {".".join(path): param for path, param in config.entries.items()}

    def checked(path: str, value: object) -> object:
        if path not in entries:
            meant = meant_setting(path, entries)
            raise RecipeError(f"{in_one_line(path)} is unknown{meant} (--help lists every setting)")
        try:
            return entries[path].checker.check(value)
        except ValueError as error:
            raise RecipeError(f"{path}={in_one_line(value)} must be {error}") from None

    layers = [{path: checked(path, value) for path, value in layer.items()} for layer in (base, *given)]
    values, scaled = combined(layers, entries[LENGTH].default, started)
    checked(LENGTH, values[LENGTH])
    config.content = {tuple(path.split(".")): value for path, value in values.items()}
    applying = [path for path, param in entries.items() if param.section.is_enabled(config)]
    for layer in given:
        for path, value in layer.items():
            if path not in applying:
                raise RecipeError(f"{path}={in_one_line(value)} has no effect here: it needs "
                                  f"{entries[path].section.condition}")
    return ({path: config[path] for path in applying if config[path] is not None},
            tuple(path for path in scaled if path in applying))


def refuse_conflicts(values: Mapping[str, object], given: Mapping[str, object]) -> None:
    """RecipeError for settings that conflict, and for settings of the command line (`given`) without an effect."""
    for problem in _conflicts(values, given):
        raise RecipeError(problem)


def _conflicts(values: Mapping[str, object], given: Mapping[str, object]) -> Iterator[str]:
    held_out, watch, select = values["data.validation"] > 0, values["eval.watch"], values["eval.select"]
    # Class folders may hold validation images: engine/build/splits.py looks.
    if values["train.patience"] and not (held_out or select == "test" or values["data.name"] == "folder"):
        yield f"train.patience={values['train.patience']} needs a validation set: set data.validation above 0"
    if select == "test" and watch == "none":
        yield "eval.select=test needs the test set after each epoch: eval.watch=none leaves it out"
    if (values["train.stop_at"] or values["train.patience"]) and watch == "none":
        yield "train.stop_at and train.patience look at the watched split: eval.watch=none leaves none"
    if "eval.best_by" in given and (watch == "none" or select == "none" and not values["train.patience"]):
        yield (f"eval.best_by={values['eval.best_by']} has no effect, nothing is chosen with eval.watch={watch}, "
               f"eval.select={select} and train.patience={values['train.patience']}: leave it out")
    if held_out and select == "test":
        yield "eval.select=test chooses on the test set though data.validation holds images out: set one of them"

    if values["train.step"] == "graph" and values["train.accumulate"] > 1:
        yield (f"train.step=graph replays whole steps and train.accumulate={values['train.accumulate']} adds several "
               "up: choose compile, or larger batches")

    # A schedule runs in each stage: the shortest one bounds it.
    epochs, milestones = min(stage_epochs(values)), values.get("schedule.milestones")
    bound = f"a stage's {epochs} epochs" if values["train.stages"] else f"train.epochs={epochs}"
    if values.get("schedule.momentum_low", 0) > values.get("schedule.momentum_high", 1):
        yield f"schedule.momentum_low={values['schedule.momentum_low']:g} must not be above momentum_high"
    if milestones is not None and not (milestones and sorted(set(milestones)) == list(milestones)
                                       and milestones[-1] < epochs):
        shown = ",".join(map(str, milestones))
        yield f"schedule.milestones={shown} must be one or more rising epochs below {bound}: set others, or more epochs"
    if values.get("schedule.warmup_epochs", 0) >= epochs:
        yield f"schedule.warmup_epochs={values['schedule.warmup_epochs']:g} must be below {bound}: make it smaller"
    for pattern, moment in values.get("schedule.ends", {}).items():
        if pattern not in values["schedule.lrs"]:
            yield (f"schedule.ends: {in_one_line(pattern)} is no pattern of schedule.lrs"
                   f"{did_you_mean(pattern, values['schedule.lrs'])}")
        elif not values.get("schedule.warmup_epochs", 0) < in_epochs(moment, epochs) < epochs:
            yield (f"schedule.ends: {in_one_line(pattern)} must end after the warm-up and before the run, not at epoch "
                   f"{in_epochs(moment, epochs):g} of {epochs}")
    if values.get("optim.nesterov") and not values.get("optim.momentum"):
        yield "optim.nesterov=true needs optim.momentum above 0: set one of them"

    epochs = sum(stage_epochs(values))
    run = f"stages of {epochs} epochs" if values["train.stages"] else f"train.epochs={epochs}"
    if "checkpoint.every" in given and values["checkpoint.every"] > epochs:
        yield f"checkpoint.every={values['checkpoint.every']} has no effect in {run}: make it smaller, or 0"
    for late in [moment for moment in values["train.sizes"] if in_epochs(moment, epochs) >= epochs]:
        shown = late if isinstance(late, str) else f"epoch {late} (from 0)"
        yield f"train.sizes: {shown} is never reached in {run}: leave it out"
    moments: dict[float, int | str] = {}
    for moment in values["train.sizes"]:
        if (other := moments.setdefault(in_epochs(moment, epochs), moment)) != moment:
            yield f"train.sizes: {other} and {moment} are the same moment in {run}: keep one"
    if not values["optim.decay_all"] and not values["optim.weight_decay"]:
        yield "optim.decay_all=false has no effect with optim.weight_decay=0: leave one of them out"
    if "mix.smooth" in given and not values["train.label_smoothing"]:
        yield "mix.smooth has no effect with train.label_smoothing=0: leave one of them out"


def stage_epochs(values: Mapping[str, object]) -> list[int]:
    """Epochs of each stage, or of the run where it has none."""
    return [stage["epochs"] for stage in values["train.stages"]] or [values[LENGTH]]
