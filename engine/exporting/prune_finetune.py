"""Prune a trained network, and fine-tune it as it was trained while pruned weights stay 0."""

import copy
from contextlib import closing
from dataclasses import asdict, replace

from torch import nn

from engine.build.optimizer import build_optimizer
from engine.build.run import build
from engine.build.schedule import build_stages
from engine.exporting import prune
from engine.exporting.verify import all_logits, top1
from engine.inference.sample_images import SampleImages
from engine.inference.trained import Trained
from engine.optim.schedule import Cosine
from engine.storage import checkpoint
from engine.training.loop import Progress
from engine.training.stages import Stage
from recipes.settings.load import Recipe

# As a share of the recipe's rates: trained weights only have to compensate for the pruned ones.
RATE_SHARE = 0.1


def tuning_recipe(recipe: Recipe, epochs: int) -> Recipe:
    """`recipe` for fine-tuning: its last stage for `epochs` epochs at RATE_SHARE of its rates, at full image size.

    Averages, early stopping and watching are off: the network after the last epoch is the result. `prune_and_tune`
    sets the schedule, as the recipe's may not fit so few epochs.
    """
    last = build_stages(recipe)[-1]
    stage = {key: value for key, value in asdict(last).items() if key != "first_epoch"}
    stage |= {"epochs": epochs, "lrs": {pattern: lr * RATE_SHARE for pattern, lr in last.lrs.items()}}
    # Counted by the step, it would not fall with the rates.
    own = {"optim.weight_decay": recipe.get("optim.weight_decay") * RATE_SHARE} \
        if recipe.get("optim.decay_per") == "step" else {}
    return recipe.changed({**own, "train.stages": (stage,), "train.sizes": {}, "train.stop_at": 0.0,
                           "train.patience": 0, "average.ema": 0.0, "average.lookahead": 0, "eval.watch": "none",
                           "eval.select": "none", "schedule.name": "constant"})


def prune_and_tune(trained: Trained, recipe: Recipe, samples: SampleImages, *, kind: str, share: float,
                   epochs: int) -> tuple[Trained, dict[str, object]]:
    """(a copy of `trained`, pruned and fine-tuned for `epochs` epochs (0: pruned only); what was done, with top-1s).

    recipe: the network's, with the data folders of this machine. kind, share: as prune.masks_of. The rate falls to 0
    as half a cosine; the recipe's seed decides all draws. Prints each epoch's results. top-1 is measured on `samples`.
    """
    # The stage decides what trains, and therefore what is pruned, even without fine-tuning.
    with closing(build(tuning_recipe(recipe, max(epochs, 1)), resuming=True, on_warning=print)) as run:
        checkpoint.load_weights(run.model, trained.model.state_dict(), trained.path)
        masks = prune.masks_of(run.model, kind, share)
        prune.apply(run.model, masks)
        cut = with_weights_of(trained, run.model)

        def enter(stage: Stage) -> None:
            optimizer = build_optimizer(run.recipe, run.model, stage)
            prune.hold(optimizer, run.model, masks)
            updates = -(-len(run.feeds.train) // run.step.accumulate) * stage.epochs
            run.step.start_stage(optimizer, Cosine(max(stage.lrs.values()), updates))

        if epochs:
            run.loop.start_stage = enter
            run.loop.seek(Progress())
            for record in run.loop.run():
                print(f"fine-tuning, epoch {record.epoch + 1} of {epochs}: loss {record.train_loss:.4f}, top-1 "
                      f"{record.train_top1:.2%}, {record.train_s:.1f} s")
        tuned = with_weights_of(trained, run.model)
        zeros, weights = prune.zeros(run.model, masks)
    before, at_once, after = (top1(all_logits(each.logits, samples.images_bhwc), samples.labels)
                              for each in (trained, cut, tuned))
    return tuned, {"kind": kind, "share": share, "zeros": zeros, "weights": weights, "epochs": epochs,
                   "top1_before": before, "top1_at_once": at_once, "top1": after}


def with_weights_of(trained: Trained, model: nn.Module) -> Trained:
    """`trained` with a copy of the weights of `model`, a network of the same architecture."""
    copied = copy.deepcopy(trained.model)
    copied.load_state_dict(model.state_dict())
    return replace(trained, model=copied)
