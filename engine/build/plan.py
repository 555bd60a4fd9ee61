"""What a recipe will do, without training or data: parameters, FLOPs, steps, learning rates, operations in order.

Class folders are listed, and their images counted.
"""

import math
from pathlib import Path

from engine.build.preflight import dataset_info_of, policy_of, refuse_large_batches, resolution_of, training_count
from engine.build.splits import fit_to_splits, list_folders
from engine.common.files import write_json
from loaders.kernels.plan import describe
from recipes.settings.load import Recipe
from recipes.settings.moments import in_epochs

# Counted in epochs too, but as a number of epochs to wait, whatever the length of the run.
WAITS = ("train.patience", "checkpoint.every")


def make_plan(recipe: Recipe) -> dict:
    """The plan as plain values.

    Keys: recipe, data, parameters, trainable, flops_per_image (forward, two per multiply-add), epochs, steps_per_epoch,
    scaled (settings that followed train.epochs), unscaled (waits, which did not), lr_after_epoch (a list), stages,
    sizes_px, augmentation, kernels and mixing (lines, in order), best_by (what the best epoch and patience go by, None
    where nothing does), patience, precision, device, step, graph_holds ("" without a graph), feed. In data, class
    folders also have folders (split -> its folder) and notes (lines on what is not read).
    """
    import torch

    from engine.build.devices import choose_device
    from engine.build.model import build_model, check_sizes
    from engine.models.flops import flops_per_image, parameters
    from engine.training.executors import only_passes
    from engine.training.executors import resolve as resolve_step
    from engine.training.precision import resolve

    known, listed = dataset_info_of(recipe), {}
    if known is None:
        listing = list_folders(recipe)
        recipe, known = fit_to_splits(recipe, listing.folders), listing.info
        refuse_large_batches(recipe, training_count(recipe, known.train))
        listed = {"folders": {split: str(folder) for split, folder in listing.folders.items()},
                  "notes": list(listing.notes)}
    train = recipe.section("train")
    with torch.device("meta"):
        model = build_model(recipe, known.classes)
    total, trainable = parameters(model)
    steps = -(-training_count(recipe, known.train) // train.batch)
    updates = -(-steps // train.accumulate)
    check_sizes(recipe, model, training_count(recipe, known.train))
    stages = plan_stages(recipe, model, steps, updates)
    device = choose_device(train.device)
    policy, arithmetic, feed = policy_of(recipe), resolve(train.precision, device), recipe.section("data").feed
    feed = auto_feed(device) if feed == "auto" else feed
    step, reason = resolve_step(train.step, device, train.accumulate), only_passes(arithmetic, train.on_nan == "skip")
    holds = f"forward and backward pass, as {reason}" if reason else "the whole step"
    return {
        "recipe": recipe.name,
        "data": {"name": recipe.section("data").name, "train": training_count(recipe, known.train),
                 "validation": known.validation or known.train - training_count(recipe, known.train),
                 "test": known.test, "classes": known.classes, "resolution_px": resolution_of(recipe), **listed},
        "parameters": total,
        "trainable": trainable,
        "flops_per_image": flops_per_image(model, policy.output_height),
        "epochs": recipe.epochs,
        "scaled": list(recipe.scaled),
        "unscaled": [f"{path}={recipe.get(path)}" for path in WAITS if recipe.scaled and recipe.get(path)],
        "steps_per_epoch": steps,
        "lr_after_epoch": [rate for stage in stages for rate in stage["lr_after_epoch"]],
        "stages": stages,
        "sizes_px": dict(train.sizes),
        "augmentation": policy.describe(),
        "kernels": describe(policy, device.type) if feed.startswith("resident") else [],
        "mixing": describe_mixing(recipe),
        "best_by": measure_of(recipe),
        "patience": train.patience,
        "precision": arithmetic,
        "device": str(device),
        "step": step,
        "graph_holds": holds if step == "graph" else "",
        "feed": feed,
    }


def plan_stages(recipe: Recipe, model, steps: int, updates: int) -> list[dict]:
    """What each stage trains, for how long and at which rates; checked as in a run, on parameters without weights."""
    from engine.build.optimizer import build_optimizer
    from engine.build.schedule import build_part_schedules, build_schedule, build_stages
    from engine.models.flops import parameters
    from engine.optim.schedule import lr_after_epochs
    from engine.training.stages import always_frozen, freeze, updates_in

    fixed, ends, planned = always_frozen(model), recipe.get("schedule.ends", {}), []
    for stage in build_stages(recipe):
        freeze(model, stage, fixed)
        total, trainable = parameters(model)
        rates = lr_after_epochs(build_schedule(recipe, stage, updates), updates, math.ceil(stage.epochs))
        parts = {pattern: lr_after_epochs(schedule, updates, len(rates))
                 for pattern, schedule in build_part_schedules(recipe, stage, updates).items()}
        groups: dict[str, dict] = {}
        for group in build_optimizer(recipe, model, stage).param_groups:
            known = groups.setdefault(group["pattern"], {
                "pattern": group["pattern"], "parameters": 0, "lr_max": stage.lrs[group["pattern"]],
                "epochs": in_epochs(ends.get(group["pattern"], stage.epochs), stage.epochs),
                "lr_after_epoch": parts.get(group["pattern"], [rate * group["lr_scale"] for rate in rates])})
            known["parameters"] += sum(p.numel() for p in group["params"])
        planned.append({"name": stage.name, "epochs": stage.epochs, "steps": updates_in(stage.epochs, steps),
                        "trainable": trainable, "frozen": total - trainable,
                        "frozen_statistics": "move" if stage.moving_statistics else "stay",
                        "lr_after_epoch": rates, "groups": list(groups.values())})
    return planned


def measure_of(recipe: Recipe) -> str | None:
    """What the best epoch and patience go by ("validation_loss"); None where nothing does."""
    settings = recipe.section("eval")
    chooses = settings.watch != "none" and (settings.select != "none" or recipe.section("train").patience)
    if not chooses or not hasattr(settings, "best_by"):
        return None
    return f"{'test' if settings.select == 'test' else 'validation'}_{settings.best_by}"


def auto_feed(device) -> str:
    """What data.feed=auto chooses, as far as is known without the data."""
    return "resident where it fits, else stream" if device.type == "cuda" else "stream"


def describe_mixing(recipe: Recipe) -> list[str]:
    """Mixing in words; no line where batches are not mixed."""
    mix = recipe.section("mix")
    if not mix.p:
        return []
    kinds = (("CutMix", "cutmix_alpha"), ("MixUp", "mixup_alpha"))
    alphas = [f"{name} alpha {getattr(mix, key):g}" for name, key in kinds if hasattr(mix, key)]
    chosen = f"CutMix with probability {mix.switch_p:g}, else MixUp" if mix.kind == "both" else mix.kind
    smooth = "with" if mix.smooth else "without"
    return [f"{mix.p:g} of the batches: {chosen} ({', '.join(alphas)}), {smooth} label smoothing"]


def show_plan(plan: dict, json_file: str | None) -> None:
    """Print the plan as a table and, where asked, write it as JSON."""
    from rich.console import Console
    from rich.table import Column, Table

    from engine.training.criterion import CRITERIA

    table = Table("", Column(overflow="fold"), title=f"plan of {plan['recipe']}", show_header=False,
                  title_justify="left")
    data, rates = plan["data"], plan["lr_after_epoch"]
    table.add_row("data", f"{data['name']}: {data['train']:,} train, {data['validation']:,} validation, "
                          f"{data['test']:,} test, {data['classes']} classes, {data['resolution_px']} px")
    for split, place in data.get("folders", {}).items():
        table.add_row(f"{split} images", place)
    if "folders" in data and data["validation"] and "validation" not in data["folders"]:
        table.add_row("validation images", "a share of the training images (data.validation)")
    for note in data.get("notes", ()):
        table.add_row("note", note)
    table.add_row("parameters", f"{plan['parameters']:,} ({plan['trainable']:,} trainable)")
    table.add_row("forward FLOPs per image", f"{plan['flops_per_image']:,}")
    table.add_row("steps", f"{plan['steps_per_epoch']:,} per epoch, {plan['epochs']:,} epochs")
    shown = sorted({0, len(rates) // 4, len(rates) // 2, 3 * len(rates) // 4, len(rates) - 1})
    if plan["scaled"]:
        stay = f" ({', '.join(plan['unscaled'])} as it was)" if plan["unscaled"] else ""
        table.add_row("scaled to these epochs", ", ".join(plan["scaled"]) + stay)
    table.add_row("learning rate after epoch", "  ".join(f"{epoch}: {rates[epoch]:.6f}" for epoch in shown))
    for stage in plan["stages"] if len(plan["stages"]) > 1 or len(plan["stages"][0]["groups"]) > 1 else ():
        groups = ", ".join(f"{group['pattern']} {group['lr_max']:g}" + (
            f" (for {group['epochs']:g} epochs)" if group["epochs"] < stage["epochs"] else "")
            for group in stage["groups"])
        table.add_row(f"stage {stage['name']}", f"{stage['epochs']:,} epochs, {stage['trainable']:,} trainable "
                                                f"parameters, highest rates: {groups}")
    if plan["sizes_px"]:
        sizes = sorted(plan["sizes_px"].items(), key=lambda size: in_epochs(size[0], plan["epochs"]))
        table.add_row("image sizes from", "  ".join(
            f"{moment if isinstance(moment, str) else f'epoch {moment}'}: {px} px" for moment, px in sizes))
    table.add_row("augmentation", "\n".join(plan["augmentation"]) or "none")
    if plan["kernels"]:
        table.add_row("augmentation on the device", "\n".join(plan["kernels"]))
    table.add_row("mixing", "\n".join(plan["mixing"]) or "none")
    if plan["best_by"]:
        split, name = plan["best_by"].split("_")
        patience = f"; ends after {plan['patience']:,} epochs without a better one" if plan["patience"] else ""
        table.add_row("best epoch", f"by {split} {CRITERIA[name].words}{patience}")
    table.add_row("precision, device, feed, step",
                  f"{plan['precision']}, {plan['device']}, {plan['feed']}, {plan['step']}"
                  + (f" of {plan['graph_holds']}" if plan["graph_holds"] else ""))
    Console(highlight=False, markup=False, emoji=False).print(table)
    if json_file:
        write_json(Path(json_file), plan)
