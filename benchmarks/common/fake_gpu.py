"""Training on a GPU that is not there: feed and step of a recipe over fake CUDA tensors, which have no values.

    with fake_gpu():
        run = FakeRun(load("resnet34"))
        counts = run.count_step()

A tensor on the wrong device fails as on a GPU, and so does whatever needs a value of the device on the host: `.item()`,
`float()`, a branch. Autocast is active. Where two dtypes do not go together, a call fails as well; in a plain product,
of which torch checks shapes only, it does not. Autograd needs a real device: on CUDA a backward pass allocates the
gradients and calculates nothing. On fake CPU tensors, which a run may be built from too, it runs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily

from benchmarks.common.counting import Counts, count
from engine.build.feeds import mean_rgb
from engine.build.mixing import build_mixing, build_sizes
from engine.build.model import build_model
from engine.build.optimizer import build_ema, build_lookahead, build_optimizer
from engine.build.preflight import dataset_info_of, policy_of
from engine.build.schedule import build_part_schedules, build_schedule, build_stages
from engine.common.step_clock import StepClock
from engine.optim.muon import fast_dtype
from engine.training import executors, recording, stages
from engine.training.forward import ForwardPass, ToInput
from engine.training.nan_guard import NanGuard
from engine.training.precision import Precision
from engine.training.step import TrainStep
from engine.training.whole_step import WholeStep, build_step
from loaders.feeds.resident import Held, Resident
from recipes.settings.load import Recipe

CUDA = torch.device("cuda")
# Whole batches of an epoch; a smaller one follows.
WHOLE, OVER = 5, 3


class FakeGraph:
    """A recording: `counts` is what it holds."""

    def __init__(self, counts: Counts):
        self.counts, self.replays = counts, 0
        # Seed and offset of the generator, where the recorded kernels read them.
        self.position = [torch.empty(1, dtype=torch.int64, device=CUDA) for _ in range(2 if counts.draws else 0)]

    def replay(self) -> None:
        """As CUDAGraph's, which first tells a recording that draws random numbers from where to go on."""
        for number in self.position:
            number.fill_(0)
        self.replays += 1


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Within it tensors are fake, `torch.cuda` answers as with an H100, and graphs count what they record."""
    updates = torch.library.Library("aten", "IMPL", "Meta")
    for name in ("_fused_sgd_", "_fused_sgd_.tensor_lr", "_fused_adam_.tensor_lr", "_fused_adamw_.tensor_lr"):
        # Fused updates write in place, and have no form without values.
        updates.impl(name, lambda *arguments, **options: None)
    replaced = (
        patch.object(torch.cuda, "get_device_capability", lambda device=None: (9, 0)),
        # Asked by autocast and the loss scaler, which would otherwise disable themselves.
        patch.object(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
        patch.object(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True),
        # Clipping asks for each tensor's class, and handles those of unknown classes one by one.
        patch("torch.utils._foreach_utils._foreach_supported_types", [torch.Tensor, FakeTensor]),
        patch.object(torch.Tensor, "pin_memory", lambda tensor: tensor),
        patch.object(FakeTensorMode, "__deepcopy__", lambda mode, memo: mode, create=True),
        patch.object(recording, "new_pool", lambda: None),
        patch.object(recording, "warm_up", lambda function, device: function()),
        patch.object(recording, "record", lambda function, pool: FakeGraph(count(function))),
        patch.object(executors, "compiled", lambda function: function),
        # It waits around the first three steps of each program only; other waits fail.
        patch.object(StepClock, "_wait", lambda clock: None),
        # The host reads its own copy, which is fake here too.
        patch.object(NanGuard, "known", lambda guard, wait=False: -1),
        patch("engine.optim.muon.fast_dtype",
              lambda device: torch.bfloat16 if device.type == "cuda" else fast_dtype(device)),
    )
    try:
        with FakeTensorMode():
            for each in replaced:
                each.start()
            yield
    finally:
        for each in replaced:
            each.stop()
        updates._destroy()


class FakeRun:
    """The resident feed and the step of a recipe in a stage, built from the parts that a run is built from.

    mode: as for `build_step`; without `whole` a graph holds forward and backward pass only. batch: images, by default
    the recipe's; precision: by default fp32 where the recipe says so, else bf16. stage: its number, by default the
    last. device: of the tensors. `step` is the training step.
    """

    def __init__(self, recipe: Recipe, mode: str = "graph", whole: bool = True, batch: int = 0, precision: str = "",
                 stage: int = -1, device: torch.device = CUDA):
        train, data = recipe.section("train"), recipe.section("data")
        self.batch = batch or train.batch
        samples, policy, classes = WHOLE * self.batch + OVER, policy_of(recipe), dataset_info_of(recipe).classes
        images_nhwc = torch.empty(samples, policy.height, policy.width, 3, dtype=torch.uint8, device=device)
        held = Held(images_nhwc, torch.empty(samples, dtype=torch.int64, device=device))
        self.feed = Resident(SimpleNamespace(samples=samples), np.arange(samples), self.batch, policy, shuffle=True,
                             device=device, mean_rgb=mean_rgb(recipe), held=held)
        with unset_fake_temporarily(), torch.device("meta"):
            self.model = build_model(recipe, classes)
        to_fake(self.model, train.channels_last, device)
        arithmetic = Precision(precision or ("fp32" if train.precision == "fp32" else "bf16"), device)
        if device.type == "cuda":
            arithmetic.backward = self._allocate_gradients
        draw_mix = build_mixing(recipe)
        forward = ForwardPass(self.model, ToInput(data.mean, data.std, device, train.channels_last), arithmetic,
                              smoothing=train.label_smoothing, smooth_mixed=recipe.get("mix.smooth", True),
                              mixes=draw_mix is not None)
        lookahead = build_lookahead(recipe, self.model)
        self.step: TrainStep = (build_step if whole else TrainStep)(
            forward, mode=mode, steps_per_epoch=len(self.feed), draw_mix=draw_mix,
            size_of=build_sizes(recipe, len(self.feed)), clip_norm=train.clip_norm,
            ema=build_ema(recipe, self.model), lookahead=lookahead, guard=NanGuard(device),
            images_of=lambda step: self.batch)
        self.stage = build_stages(recipe)[stage]
        stages.freeze(self.model, self.stage, stages.always_frozen(self.model))
        stages.set_modes(self.model, self.stage)
        self.step.start_stage(build_optimizer(recipe, self.model, self.stage),
                              build_schedule(recipe, self.stage, len(self.feed)),
                              build_part_schedules(recipe, self.stage, len(self.feed)))

    def _allocate_gradients(self, loss: torch.Tensor) -> None:
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)

    def train_epoch(self, around: Callable[[Callable[[], None]], None] = lambda step: step()) -> None:
        """Train on an epoch; `around` is given each step, the making of its batch included, and calls it."""
        open_epoch = self.feed.unmade_epoch if isinstance(self.step, WholeStep) else self.feed.epoch
        self.step.reset_counts()
        with open_epoch(0) as batches:
            for number in range(len(self.feed)):
                around(lambda number=number: self._one(batches, number))

    def _one(self, batches: Iterator, number: int) -> None:
        batch = next(batches)
        self.step(batch.images_bhwc, batch.labels, 0, number)

    def count_step(self) -> tuple[Counts, Counts, int]:
        """Of a step on a whole batch: what the host issues one by one, what the replayed graph holds, and how many
        graphs are replayed."""
        seen: list[tuple[Counts, int]] = []

        def counted(step: Callable[[], None]) -> None:
            graphs = self.graphs()
            before = sum(graph.replays for graph in graphs)
            counts = count(step)
            seen.append((counts, sum(graph.replays for graph in self.graphs()) - before))

        self.train_epoch(counted)
        # The last whole batch: everything is recorded by then, and the epoch's keys are copied.
        outside, replays = seen[WHOLE - 1]
        inside = self.graphs()[0].counts if self.graphs() else Counts()
        return outside, inside, replays

    def graphs(self) -> list[FakeGraph]:
        """The recordings so far, in the order they were made."""
        if isinstance(self.step, WholeStep):
            return [graph for _, graph in self.step.graphs.values()]
        return [made.graph for made in getattr(self.step.executor, "graphs", {}).values()]


def to_fake(model: torch.nn.Module, channels_last: bool, device: torch.device = CUDA) -> None:
    """Give a network without memory fake parameters and buffers on `device`; Module.to refuses to."""
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                made = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
                if channels_last and made.dim() == 4:
                    made = made.contiguous(memory_format=torch.channels_last)
                is_parameter = tensors is module._parameters
                tensors[name] = torch.nn.Parameter(made, tensor.requires_grad) if is_parameter else made
