"""Settings that are each in range but would not do anything, or could not work, together."""

from collections.abc import Mapping


def conflict(values: Mapping[str, object], given: Mapping[str, object]) -> str | None:
    """The one line that refuses a recipe's values, None where they go together.

    `given` are the settings of the command line: only there must each have an effect. A dumped recipe names them all.
    """
    return _evaluation(values) or _step(values) or _schedule(values) or _without_effect(values, given)


def _evaluation(values: Mapping[str, object]) -> str | None:
    held_out, watch, select = values["data.validation"] > 0, values["eval.watch"], values["eval.select"]
    if values["train.patience"] and not (held_out or select == "test"):
        return f"train.patience={values['train.patience']} needs a validation set: set data.validation above 0"
    if select == "test" and watch == "none":
        return "eval.select=test needs the test set after each epoch: eval.watch=none leaves it out"
    if (values["train.stop_at"] or values["train.patience"]) and watch == "none":
        return "train.stop_at and train.patience look at the watched split: eval.watch=none leaves none"
    if held_out and select == "test":
        return ("eval.select=test chooses on the test set though data.validation holds images out: "
                "set one of them")
    return None


def _step(values: Mapping[str, object]) -> str | None:
    if values["train.step"] == "graph" and values["train.accumulate"] > 1:
        return (f"train.step=graph replays whole steps and train.accumulate={values['train.accumulate']} adds several "
                "up: choose compile, or larger batches")
    return None


def _schedule(values: Mapping[str, object]) -> str | None:
    epochs, milestones = stage_epochs(values), values.get("schedule.milestones")
    bound = f"a stage's {epochs} epochs" if values["train.stages"] else f"train.epochs={epochs}"
    if values.get("schedule.momentum_low", 0) > values.get("schedule.momentum_high", 1):
        return f"schedule.momentum_low={values['schedule.momentum_low']:g} must not be above momentum_high"
    if milestones is not None:
        rising = all(a < b for a, b in zip(milestones, milestones[1:], strict=False))
        if not milestones or not rising or milestones[-1] >= epochs:
            shown = ",".join(map(str, milestones))
            return f"schedule.milestones={shown} must be one or more rising epochs below {bound}"
    if values.get("schedule.warmup_epochs", 0) >= epochs:
        return f"schedule.warmup_epochs={values['schedule.warmup_epochs']:g} must be below {bound}"
    if values.get("optim.nesterov") and not values.get("optim.momentum"):
        return "optim.nesterov=true needs optim.momentum above 0: set one of them"
    return None


def _without_effect(values: Mapping[str, object], given: Mapping[str, object]) -> str | None:
    epochs = total_epochs(values)
    run = f"stages of {epochs} epochs" if values["train.stages"] else f"train.epochs={epochs}"
    if "checkpoint.every" in given and values["checkpoint.every"] > epochs:
        return (f"checkpoint.every={values['checkpoint.every']} has no effect in {run}: make it smaller, or 0")
    late = [epoch for epoch in values["train.sizes"] if epoch >= epochs]
    if late:
        return f"train.sizes: epoch {late[0]} (from 0) is never reached in {run}: leave it out"
    if not values["optim.decay_all"] and not values["optim.weight_decay"]:
        return "optim.decay_all=false has no effect with optim.weight_decay=0: leave one of them out"
    if "mix.smooth" in given and not values["train.label_smoothing"]:
        return "mix.smooth has no effect with train.label_smoothing=0: leave one of them out"
    return None


def stage_epochs(values: Mapping[str, object]) -> int:
    """Epochs of the shortest stage: a schedule runs in each."""
    stages = values["train.stages"]
    return min(stage["epochs"] for stage in stages) if stages else values["train.epochs"]


def total_epochs(values: Mapping[str, object]) -> int:
    """Epochs of all stages together."""
    stages = values["train.stages"]
    return sum(stage["epochs"] for stage in stages) if stages else values["train.epochs"]
