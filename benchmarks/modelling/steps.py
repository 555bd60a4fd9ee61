"""The steps of a recipe: how many there are of each kind, and what each of them executes."""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from benchmarks.common.fake_gpu import FakeRun, fake_gpu
from benchmarks.modelling.trace import Operation, Tracer
from engine.build.mixing import build_mixing, build_sizes
from engine.build.preflight import dataset_info_of, training_count
from engine.build.schedule import build_part_schedules, build_stages
from engine.common.errors import EngineError
from engine.training.mixing import Mix
from engine.training.stages import updates_in
from recipes.settings.load import Recipe

CPU = torch.device("cpu")
# Draws of mixes that tell how often each kind comes.
DRAWS = 1000


@dataclass(frozen=True)
class Phase:
    """Steps that are alike: their stage's number, the side in px that images are resized to (None: as they are), and
    the patterns of the network's parts that no longer train."""

    stage: int
    size_px: int | None
    ended: frozenset[str]


@dataclass(frozen=True)
class Piece:
    """Operations of a step, executed `share` times a step, mean. read_later: storages that later pieces read."""

    share: float
    operations: list[Operation]
    read_later: frozenset[int] = frozenset()


def training_images(recipe: Recipe) -> int:
    """The images of an epoch; EngineError for class folders, whose number is not known here."""
    known = dataset_info_of(recipe)
    if known is None:
        raise EngineError(f"data.name={recipe.section('data').name}: the model needs a data set of known size, such as "
                          "cifar10")
    return training_count(recipe, known.train)


def phases_of(recipe: Recipe, images: int) -> Counter[Phase]:
    """How many steps of each kind a run over epochs of `images` takes, in the order in which they first come."""
    steps, accumulate = -(-images // recipe.section("train").batch), recipe.section("train").accumulate
    size_of, updates, found = build_sizes(recipe, steps), -(-steps // accumulate), Counter()
    for number, stage in enumerate(build_stages(recipe)):
        ends = {pattern: schedule.total_steps * accumulate
                for pattern, schedule in build_part_schedules(recipe, stage, updates).items()}
        for step in range(min(updates_in(stage.epochs, updates) * accumulate, math.ceil(stage.epochs) * steps)):
            ended = frozenset(pattern for pattern, end in ends.items() if step >= end)
            epoch, in_epoch = divmod(step, steps)
            found[Phase(number, size_of(int(stage.first_epoch) + epoch, in_epoch), ended)] += 1
    return found


def trace_step(recipe: Recipe, phase: Phase, *, compiled: bool, precision: str = "") -> list[Piece]:
    """What a step executes.

    compiled: as a GPU's step, which mixes each batch by numbers; else eager, with a piece for each kind of mix.
    precision: as for FakeRun.
    """
    with fake_gpu():
        run = FakeRun(recipe, mode="compile" if compiled else "eager", whole=False, precision=precision,
                      stage=phase.stage, device=CPU)
        step, policy, accumulate = run.step, run.feed.policy.policy, recipe.section("train").accumulate
        images_bhwc = torch.empty(run.batch, policy.output_height, policy.output_width, 3, dtype=torch.uint8)
        labels = torch.empty(run.batch, dtype=torch.int64)
        followers, step.followers = step.followers, []
        step.size_of, step.draw_mix = lambda epoch, number: phase.size_px, None
        step.updates = max((step.parts[pattern].total_steps for pattern in phase.ended), default=0)
        # The guard's form for a GPU needs no value on the host.
        step.guard.note = step.guard.mark
        # The optimiser makes its state in the first step.
        step(images_bhwc, labels, 0, 0)
        pieces: list[Piece] = []
        mixes = [(1.0, None)] if compiled else shares_of_mixes(recipe, phase.size_px or policy.output_height)
        with _marked(step.precision) as tracer:
            for share, mix in mixes:
                step.draw_mix = lambda *position, mix=mix: mix
                tracer.operations, tracer.part = [], "passes"
                with tracer:
                    step(images_bhwc, labels, 0, 0)
                passes, update = ([each for each in tracer.operations if each.part == part]
                                  for part in ("passes", "update"))
                pieces += [Piece(share, passes, frozenset(key for each in update for key in each.reads)),
                           Piece(share / accumulate, update)]
            for follower in followers:
                tracer.operations = []
                with tracer:
                    follower.follow("pull" if follower is step.lookahead else "average")
                pieces.append(Piece(1 / (accumulate * follower.every), tracer.operations))
    return pieces


@contextmanager
def _marked(precision) -> Iterator[Tracer]:
    """A tracer that takes all after a backward pass for the update."""
    tracer, backward = Tracer(), precision.backward

    def then_update(loss: torch.Tensor) -> None:
        backward(loss)
        tracer.part = "update"

    precision.backward = then_update
    yield tracer
    precision.backward = backward


def shares_of_mixes(recipe: Recipe, side_px: int) -> list[tuple[float, Mix | None]]:
    """(share of the batches, a mix) of each kind that a recipe draws for images of `side_px`; None: unmixed."""
    draw = build_mixing(recipe)
    drawn = [draw(0, step, side_px, side_px) if draw else None for step in range(DRAWS)]
    counts = Counter(mix.kind if mix else "" for mix in drawn)
    examples = {mix.kind if mix else "": mix for mix in drawn}
    return [(counts[kind] / DRAWS, mix) for kind, mix in examples.items()]
