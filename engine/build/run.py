"""The composition root: a recipe's values become feeds, network, optimiser, step and loop, with explicit arguments.

Below this file nothing reads a recipe.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from engine.build.datasets import OnProgress, OnWarning, open_betons, open_data
from engine.build.devices import choose_device, place_threads, take_own_gpu
from engine.build.feeds import build_all_feeds
from engine.build.model import check_sizes, starting_model
from engine.build.optimizer import (
    build_ema,
    build_lookahead,
    build_mixing,
    build_optimizer,
    build_schedule,
    build_stages,
    check_stages,
    size_of,
)
from engine.build.preflight import resolution_of
from engine.common.errors import EngineError
from engine.distributed.process_group import ProcessGroup
from engine.training import executors, precision, stages
from engine.training.evaluation import evaluate
from engine.training.forward import Compute, ToInput
from engine.training.loop import Loop, Progress, Stops
from engine.training.metrics import Result
from engine.training.nan_guard import NanGuard
from engine.training.step import TrainStep
from loaders.beton.cache import Beton
from loaders.common.counter_rng import hash64
from loaders.feeds.build import Feeds
from recipes.settings.load import Recipe


@dataclass
class Run:
    """Everything a training run is made of; `measured` is what is evaluated: the network or its average.

    process_group: the processes that the run is divided among, None for a lone one.
    """

    recipe: Recipe
    device: torch.device
    precision: precision.Precision
    class_names: tuple[str, ...]
    resolution: int
    betons: dict[str, Beton]
    feeds: Feeds
    model: nn.Module
    measured: nn.Module
    step: TrainStep
    loop: Loop
    evaluate: Callable[[object], Result]
    watched: str
    process_group: ProcessGroup | None = None

    def close(self) -> None:
        """Close the feeds."""
        self.feeds.close()


def build(recipe: Recipe, *, going_on: bool = False, on_progress: OnProgress = None,
          on_warning: OnWarning = None, process_group: ProcessGroup | None = None) -> Run:
    """Compose the run that `recipe` describes, at its start; `going_on` leaves model.weights unread, for a checkpoint's
    come instead. `process_group`: the processes among which it is divided."""
    train, data, held = recipe.section("train"), recipe.section("data"), recipe.section("eval")
    device = choose_device(train.device)
    if process_group and device.type == "cuda":
        take_own_gpu(process_group.local_rank, process_group.local_ranks)
    arithmetic = precision.Precision(precision.resolve(train.precision, device), device)
    precision.allow_tf32(recipe.get("train.tf32", True))
    precision.be_deterministic(train.deterministic)
    loader_threads = place_threads(recipe, device, process_group.local_ranks if process_group else 1)
    # Weights decay towards denormal numbers, on which CPUs are many times slower. It holds for the whole process.
    torch.set_flush_denormal(device.type == "cpu")
    source = open_data(recipe)
    betons = open_betons(recipe, source, on_progress, on_warning)
    if process_group:
        process_group.wait_for_all("the data")
    feeds = build_all_feeds(recipe, betons, device, loader_threads, process_group.shard if process_group else (0, 1))
    to_input = ToInput(data.mean, data.std, device, train.channels_last)
    model = starting_model(recipe, len(source.class_names), betons["train"], feeds.train.indices, to_input,
                           read_weights=not going_on, say=on_warning)
    check_sizes(recipe, model, feeds.train.samples, process_group.ranks if process_group else 1)
    if process_group:
        model = shared(recipe, model, process_group)
    ema = build_ema(recipe, model)
    draw_mix = build_mixing(recipe)
    compute = Compute(model, to_input, arithmetic, smoothing=train.label_smoothing,
                      smooth_mixed=recipe.get("mix.smooth", True), mixes=draw_mix is not None)
    ranks = process_group.ranks if process_group else 1
    mode = executors.resolve(train.step, device, train.accumulate, ranks, train.sync_bn and ranks > 1)
    step = TrainStep(compute, steps_per_epoch=len(feeds.train), mode=mode, draw_mix=draw_mix,
                     size_of=partial(size_of, train.sizes), clip_norm=train.clip_norm, accumulate=train.accumulate,
                     ema=ema, lookahead=build_lookahead(recipe, model), guard=NanGuard(device),
                     skip_bad=train.on_nan == "skip", process_group=process_group,
                     images_of=lambda step: min(train.batch, feeds.train.samples - step * train.batch))
    fixed, updates_per_epoch = stages.always_frozen(model), -(-len(feeds.train) // train.accumulate)
    check_stages(recipe, model, fixed, updates_per_epoch)
    measured = ema.model if ema else model

    def align_statistics() -> None:
        # Each process gathers its own; the first one's count, for frozen batch norms, evaluation and checkpoints.
        if process_group:
            for network in [model] if measured is model else [model, measured]:
                process_group.copy_from_first(list(network.buffers()))

    def enter(stage: stages.Stage) -> None:
        align_statistics()
        stages.freeze(model, stage, fixed)
        step.begin(build_optimizer(recipe, model, stage), build_schedule(recipe, stage, updates_per_epoch))

    def measure(feed) -> Result:
        align_statistics()
        return evaluate(measured, feed, len(source.class_names), to_input, arithmetic, held.tta,
                        process_group.add if process_group else None,
                        lambda: loop.between_batches and loop.between_batches())

    watched = "none" if held.watch == "none" else "validation" if feeds.validation is not None else "test"
    watched_feed = {"validation": feeds.validation, "test": feeds.test}.get(watched)
    if watched_feed is None:
        watched = "none"
    loop = Loop(step, feeds.train, build_stages(recipe), enter=enter, set_modes=partial(stages.set_modes, model),
                watch=None if watched_feed is None else partial(measure, watched_feed),
                select=(watched, held.select) in (("validation", "auto"), ("test", "test")),
                stops=Stops(train.stop_at, train.patience, recipe.get("train.min_delta", 0.0)))
    if process_group and not process_group.leads:
        # Dropout differs between the blocks of a batch; the first process draws what a lone one would.
        torch.manual_seed(int(hash64(train.seed, process_group.rank)[0]))
    return Run(recipe, device, arithmetic, source.class_names, resolution_of(recipe), betons, feeds, model, measured,
               step, loop, measure, watched, process_group)


def shared(recipe: Recipe, model: nn.Module, process_group: ProcessGroup) -> nn.Module:
    """`model`, with the first process's weights in all of them, and train.sync_bn's batch norms."""
    process_group.copy_from_first([*model.parameters(), *model.buffers()])
    if not recipe.section("train").sync_bn:
        return model
    if next(model.parameters()).device.type != "cuda":
        raise EngineError("train.sync_bn=true needs GPUs, torch's synchronised batch norm has no other form: leave it "
                          "out, or choose a network without batch norms")
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def start_again(run: Run, recipe: Recipe) -> None:
    """Put `run` at the start of `recipe`, which differs from its own in the seed only, keeping all that is built.

    What follows is what a new process would compute for that seed, bit for bit.
    """
    seed = recipe.section("train").seed
    fresh = starting_model(recipe, len(run.class_names), run.betons["train"], run.feeds.train.indices,
                           run.step.to_input)
    run.model.load_state_dict(fresh.state_dict())
    run.feeds.train.reseed(seed)
    run.step.restart(build_mixing(recipe))
    run.precision.restart()
    run.loop.go_to(Progress())
    run.recipe = recipe
