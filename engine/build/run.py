"""The composition root: a recipe's values become feeds, network, optimiser, step and loop, with explicit arguments.

Nothing below this folder builds anything from a recipe.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from engine.build.datasets import OnProgress, OnWarning, open_betons, open_data
from engine.build.devices import choose_device, flush_denormals, keep_memory, place_threads, take_own_gpu
from engine.build.feeds import build_all_feeds
from engine.build.kernels import compile_kernels, fuse_norms
from engine.build.mixing import build_mixing, build_sizes
from engine.build.model import check_sizes, starting_model
from engine.build.optimizer import build_ema, build_lookahead, build_optimizer, check_stages
from engine.build.preflight import resolution_of
from engine.build.schedule import build_part_schedules, build_schedule, build_stages
from engine.build.splits import settled
from engine.common.errors import EngineError
from engine.distributed.process_group import ProcessGroup
from engine.training import executors, precision, stages
from engine.training.criterion import CRITERIA, LEAST_CLASSES_FOR_TOP5
from engine.training.evaluation import evaluate
from engine.training.forward import ForwardPass, ToInput
from engine.training.loop import Loop, Progress, Stops
from engine.training.metrics import Result
from engine.training.nan_guard import NanGuard
from engine.training.step import TrainStep
from engine.training.whole_step import WholeStep, build_step
from loaders.beton.cache import Beton
from loaders.common.counter_rng import hash64
from loaders.feeds.build import Feed, Feeds
from loaders.feeds.resident import Resident
from loaders.feeds.stream import Batch
from recipes.settings.load import Recipe


@dataclass
class Run:
    """Everything a training run is made of; `eval_model` is evaluated: the network or its average.

    folders: the folder of each split, where each has its own. watched: the split that is evaluated after each epoch,
    "validation", "test" or "none". process_group: of a run in several processes.
    """

    recipe: Recipe
    device: torch.device
    precision: precision.Precision
    class_names: tuple[str, ...]
    resolution: int
    folders: Mapping[str, Path]
    betons: dict[str, Beton]
    feeds: Feeds
    model: nn.Module
    eval_model: nn.Module
    step: TrainStep
    loop: Loop
    evaluate: Callable[[object], Result]
    watched: str
    process_group: ProcessGroup | None = None

    def close(self) -> None:
        """Close the feeds."""
        self.feeds.close()


def build(recipe: Recipe, *, resuming: bool = False, on_progress: OnProgress = None, on_warning: OnWarning = None,
          process_group: ProcessGroup | None = None) -> Run:
    """Build the run that `recipe` describes, at its start, for one process or as a part of `process_group`.

    resuming: a checkpoint's weights will be loaded, so model.weights is not read.
    """
    train, data, eval_settings = recipe.section("train"), recipe.section("data"), recipe.section("eval")
    device, ranks = choose_device(train.device), process_group.ranks if process_group else 1
    if process_group and device.type == "cuda":
        take_own_gpu(process_group.local_rank, process_group.local_ranks)
    arithmetic = precision.Precision(precision.resolve(train.precision, device), device)
    precision.allow_tf32(recipe.get("train.tf32", True))
    precision.be_deterministic(train.deterministic)
    precision.tune_convolutions(device.type == "cuda" and not train.deterministic)
    loader_threads = place_threads(recipe, device, process_group.local_ranks if process_group else 1)
    if device.type == "cpu":
        keep_memory()
    # Weights decay towards denormal numbers, on which CPUs are many times slower.
    if not flush_denormals(device.type == "cpu") and on_warning:
        on_warning("warning: some of torch's threads were there before this run and keep denormal numbers, which is "
                   "slower and may change the last bits of the weights: start it in a process of its own")

    source = open_data(recipe)
    if not resuming:
        recipe = settled(recipe, source, on_warning)
    criterion = CRITERIA[recipe.get("eval.best_by", "top1")]
    if criterion.name == "top5" and len(source.class_names) < LEAST_CLASSES_FOR_TOP5:
        raise EngineError(f"eval.best_by=top5: with {len(source.class_names)} classes every epoch reaches 100 %: "
                          "choose top1, loss or ece")
    betons = open_betons(recipe, source, on_progress, on_warning)
    if process_group:
        process_group.wait_for_all("the data")
    feeds = build_all_feeds(recipe, betons, device, loader_threads, process_group.shard if process_group else (0, 1))
    compile_kernels(feeds.train, on_warning)
    classes, to_input = len(source.class_names), ToInput(data.mean, data.std, device, train.channels_last)

    model = starting_model(recipe, classes, betons["train"], feeds.train.indices, to_input,
                           read_weights=not resuming, say=on_warning)
    check_sizes(recipe, model, feeds.train.samples, ranks)
    if process_group:
        model = synchronised(recipe, model, process_group)
    ema, draw_mix = build_ema(recipe, model), build_mixing(recipe)
    eval_model = ema.model if ema else model

    forward = ForwardPass(model, to_input, arithmetic, smoothing=train.label_smoothing,
                          smooth_mixed=recipe.get("mix.smooth", True), mixes=draw_mix is not None)
    mode = executors.resolve(train.step, device, train.accumulate, ranks, train.sync_bn and ranks > 1)
    fuse_norms(recipe, model, device, mode, on_warning)
    step = build_step(forward, steps_per_epoch=len(feeds.train), mode=mode, draw_mix=draw_mix,
                      size_of=build_sizes(recipe, len(feeds.train)), clip_norm=train.clip_norm,
                      accumulate=train.accumulate, ema=ema, lookahead=build_lookahead(recipe, model),
                      guard=NanGuard(device), skip_bad=train.on_nan == "skip", process_group=process_group,
                      images_of=lambda step: min(train.batch, feeds.train.samples - step * train.batch))
    frozen, updates_per_epoch = stages.always_frozen(model), -(-len(feeds.train) // train.accumulate)
    check_stages(recipe, model, frozen, updates_per_epoch)

    def align_statistics() -> None:
        # Each process gathers its own; those of the first count, for frozen batch norms, evaluation and checkpoints.
        if process_group:
            for network in [model] if eval_model is model else [model, eval_model]:
                process_group.copy_from_first(list(network.buffers()))

    def start_stage(stage: stages.Stage) -> None:
        align_statistics()
        stages.freeze(model, stage, frozen)
        step.start_stage(build_optimizer(recipe, model, stage), build_schedule(recipe, stage, updates_per_epoch),
                         build_part_schedules(recipe, stage, updates_per_epoch),
                         partial(stages.set_modes, model, stage))

    def evaluate_feed(feed) -> Result:
        align_statistics()
        return evaluate(eval_model, feed, classes, to_input, arithmetic, eval_settings.tta,
                        process_group.sum_in_place if process_group else None,
                        lambda: loop.between_batches and loop.between_batches())

    def prepare(epoch: int) -> None:
        step.prepare(epoch)
        feeds.train.prepare(epoch)

    watched = "none" if eval_settings.watch == "none" else "validation" if feeds.validation is not None else "test"
    watched_feed = {"validation": feeds.validation, "test": feeds.test}.get(watched)
    if watched_feed is None:
        watched = "none"
    loop = Loop(step, feeds.train, build_stages(recipe), start_stage=start_stage,
                set_modes=partial(stages.set_modes, model),
                watch=None if watched_feed is None else partial(evaluate_feed, watched_feed),
                select=(watched, eval_settings.select) in (("validation", "auto"), ("test", "test")),
                criterion=criterion,
                stops=Stops(train.stop_at, train.patience, recipe.get("train.min_delta", 0.0)),
                open_epoch=opener(step, feeds.train), prepare=prepare)
    if process_group and not process_group.leads:
        # Dropout differs between the blocks of a batch; the first process draws what a single one would.
        torch.manual_seed(int(hash64(train.seed, process_group.rank)[0]))
    return Run(recipe, device, arithmetic, source.class_names, resolution_of(recipe), source.folders, betons, feeds,
               model, eval_model, step, loop, evaluate_feed, watched, process_group)


def opener(step: TrainStep, feed: Feed) -> Callable[..., AbstractContextManager[Iterator[Batch]]]:
    """(epoch, start=batch) -> the feed's batches as the step takes them: one that is recorded as a whole augments the
    images of a resident feed itself."""
    return feed.unmade_epoch if isinstance(step, WholeStep) and isinstance(feed, Resident) else feed.epoch


def synchronised(recipe: Recipe, model: nn.Module, process_group: ProcessGroup) -> nn.Module:
    """`model` with the first process's weights in all processes, and train.sync_bn's batch norms."""
    process_group.copy_from_first([*model.parameters(), *model.buffers()])
    if not recipe.section("train").sync_bn:
        return model
    if next(model.parameters()).device.type != "cuda":
        raise EngineError("train.sync_bn=true needs GPUs, torch's synchronised batch norm has no other form: leave it "
                          "out, or choose a network without batch norms")
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def reset_to_seed(run: Run, recipe: Recipe) -> None:
    """Put `run` at the start of `recipe`, which differs in the seed only, and keep everything that is built.

    What follows is what a new process would compute for that seed, bit for bit.
    """
    fresh = starting_model(recipe, len(run.class_names), run.betons["train"], run.feeds.train.indices,
                           run.step.to_input)
    run.model.load_state_dict(fresh.state_dict())
    run.feeds.train.reseed(recipe.section("train").seed)
    run.step.reset(build_mixing(recipe))
    run.precision.reset()
    run.loop.seek(Progress())
    run.recipe = recipe
