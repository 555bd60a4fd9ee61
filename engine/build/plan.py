"""What a recipe will do, without training or data: parameters, FLOPs, steps, learning rates, operations in order."""

from pathlib import Path

from engine.build.preflight import dataset_info_of, policy_of, resolution_of, training_count
from engine.common.errors import EngineError
from engine.common.files import write_json
from loaders.kernels.plan import describe
from recipes.settings.load import Recipe


def make_plan(recipe: Recipe) -> dict:
    """The plan as plain values.

    Keys: recipe, data, parameters, trainable, flops_per_image (forward, two per multiply-add), epochs, steps_per_epoch,
    lr_after_epoch (a list), stages, sizes_px, augmentation, kernels and mixing (lines, in order), precision, device,
    step, feed.
    """
    import torch

    from engine.build.devices import choose_device
    from engine.build.model import build_model, check_sizes
    from engine.models.flops import flops_per_image, parameters
    from engine.training.executors import resolve as resolve_step
    from engine.training.precision import resolve

    known = dataset_info_of(recipe)
    if known is None:
        raise EngineError("--plan needs a data set of known size: cifar10, cifar100 or shapes, not class folders")
    train = recipe.section("train")
    with torch.device("meta"):
        model = build_model(recipe, known.classes)
    total, trainable = parameters(model)
    steps = -(-training_count(recipe, known.train) // train.batch)
    updates = -(-steps // train.accumulate)
    check_sizes(recipe, model, training_count(recipe, known.train))
    stages = plan_stages(recipe, model, steps, updates)
    device = choose_device(train.device)
    policy, feed = policy_of(recipe), recipe.section("data").feed
    feed = auto_feed(device) if feed == "auto" else feed
    return {
        "recipe": recipe.name,
        "data": {"name": recipe.section("data").name, "train": training_count(recipe, known.train),
                 "validation": known.train - training_count(recipe, known.train), "test": known.test,
                 "classes": known.classes, "resolution_px": resolution_of(recipe)},
        "parameters": total,
        "trainable": trainable,
        "flops_per_image": flops_per_image(model, policy.output_height),
        "epochs": recipe.epochs,
        "steps_per_epoch": steps,
        "lr_after_epoch": [rate for stage in stages for rate in stage["lr_after_epoch"]],
        "stages": stages,
        "sizes_px": dict(train.sizes),
        "augmentation": policy.describe(),
        "kernels": describe(policy, device.type) if feed.startswith("resident") else [],
        "mixing": describe_mixing(recipe),
        "precision": resolve(train.precision, device),
        "device": str(device),
        "step": resolve_step(train.step, device, train.accumulate),
        "feed": feed,
    }


def plan_stages(recipe: Recipe, model, steps: int, updates: int) -> list[dict]:
    """What each stage trains, for how long and at which rates; checked as in a run, on parameters without weights."""
    from engine.build.optimizer import build_optimizer
    from engine.build.schedule import build_schedule, build_stages
    from engine.models.flops import parameters
    from engine.optim.schedule import lr_after_epochs
    from engine.training.stages import always_frozen, freeze

    fixed, planned = always_frozen(model), []
    for stage in build_stages(recipe):
        freeze(model, stage, fixed)
        total, trainable = parameters(model)
        rates = lr_after_epochs(build_schedule(recipe, stage, updates), updates, stage.epochs)
        groups: dict[str, dict] = {}
        for group in build_optimizer(recipe, model, stage).param_groups:
            known = groups.setdefault(group["pattern"], {
                "pattern": group["pattern"], "parameters": 0, "lr_max": stage.lrs[group["pattern"]],
                "lr_after_epoch": [rate * group["lr_scale"] for rate in rates]})
            known["parameters"] += sum(p.numel() for p in group["params"])
        planned.append({"name": stage.name, "epochs": stage.epochs, "steps": steps * stage.epochs,
                        "trainable": trainable, "frozen": total - trainable,
                        "frozen_statistics": "move" if stage.moving_statistics else "stay",
                        "lr_after_epoch": rates, "groups": list(groups.values())})
    return planned


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
    from rich.table import Table

    table = Table(title=f"plan of {plan['recipe']}", show_header=False, title_justify="left")
    data, rates = plan["data"], plan["lr_after_epoch"]
    table.add_row("data", f"{data['name']}: {data['train']:,} train, {data['validation']:,} validation, "
                          f"{data['test']:,} test, {data['classes']} classes, {data['resolution_px']} px")
    table.add_row("parameters", f"{plan['parameters']:,} ({plan['trainable']:,} trainable)")
    table.add_row("forward FLOPs per image", f"{plan['flops_per_image']:,}")
    table.add_row("steps", f"{plan['steps_per_epoch']:,} per epoch, {plan['epochs']:,} epochs")
    shown = sorted({0, len(rates) // 4, len(rates) // 2, 3 * len(rates) // 4, len(rates) - 1})
    table.add_row("learning rate after epoch", "  ".join(f"{epoch}: {rates[epoch]:.6f}" for epoch in shown))
    for stage in plan["stages"] if len(plan["stages"]) > 1 or len(plan["stages"][0]["groups"]) > 1 else ():
        groups = ", ".join(f"{group['pattern']} {group['lr_max']:g}" for group in stage["groups"])
        table.add_row(f"stage {stage['name']}", f"{stage['epochs']:,} epochs, {stage['trainable']:,} trainable "
                                                f"parameters, highest rates: {groups}")
    table.add_row("augmentation", "\n".join(plan["augmentation"]) or "none")
    if plan["kernels"]:
        table.add_row("augmentation on the device", "\n".join(plan["kernels"]))
    table.add_row("mixing", "\n".join(plan["mixing"]) or "none")
    table.add_row("precision, device, feed, step",
                  f"{plan['precision']}, {plan['device']}, {plan['feed']}, {plan['step']}")
    Console(highlight=False, markup=False, emoji=False).print(table)
    if json_file:
        write_json(Path(json_file), plan)
