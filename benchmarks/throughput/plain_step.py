"""A plain PyTorch training step of a recipe, for the engine's peers.

The learning rate stays at the first of the recipe's schedule; weight averages and gradient accumulation are left out.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms import v2

from engine.build.optimizer import build_optimizer
from engine.build.preflight import policy_of
from engine.build.run import Run
from engine.build.schedule import build_schedule
from engine.training.stages import Stage, set_modes
from loaders.beton.cache import Beton
from loaders.feeds.resident import hold
from loaders.policy.policy import Policy
from recipes.settings.load import Recipe


@dataclass(frozen=True)
class TrainingSetup:
    """A run's untrained `model`, the `indices` of a beton to train on, the precision `dtype` (None: fp32), and more."""

    recipe: Recipe
    policy: Policy
    device: torch.device
    dtype: torch.dtype | None
    model: nn.Module
    stage: Stage
    classes: int
    beton: Beton
    indices: np.ndarray
    images_nhwc: np.ndarray
    labels: list[int]


def setup_of(run: Run) -> TrainingSetup:
    """The setup of a run that has not trained yet, with train.norms=torch; reads its images into memory."""
    beton, indices, dtype = run.betons["train"], run.feeds.train.indices, run.precision.dtype
    held = hold(beton, "cpu")
    return TrainingSetup(run.recipe, policy_of(run.recipe), run.device, None if dtype == torch.float32 else dtype,
                         copy.deepcopy(run.model), run.loop.stage, len(run.class_names), beton, indices,
                         held.images_nhwc.numpy()[indices], held.labels.numpy()[indices].tolist())


class PlainStep:
    """A plain training step on images (B, 3, H, W): uint8, which it normalises, or normalised float32.

    With `reads` it sums loss and correct predictions on the host after each step.
    """

    def __init__(self, setup: TrainingSetup, dtype: torch.dtype | None, *, channels_last: bool, fused: bool,
                 compiled: bool = False, reads: bool = False):
        train, data = setup.recipe.section("train"), setup.recipe.section("data")
        self.setup, self.dtype, self.reads = setup, dtype, reads
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = copy.deepcopy(setup.model).to(memory_format=self.layout)
        set_modes(self.model, setup.stage)
        self.network = torch.compile(self.model) if compiled else self.model
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(setup, self.model, self.parameters, fused)
        self.scaler = torch.amp.GradScaler(setup.device.type, enabled=dtype == torch.float16)
        self.smoothing, self.clip_norm = train.label_smoothing, train.clip_norm
        self.smooth_mixed, self.mix = setup.recipe.get("mix.smooth", True), make_mixing(setup)
        std = torch.tensor(data.std, device=setup.device).view(1, 3, 1, 1)
        self.scale = 1 / (255 * std)
        self.shift = -torch.tensor(data.mean, device=setup.device).view(1, 3, 1, 1) / std
        self.loss = self.correct = 0.0

    def __call__(self, batch: Sequence[torch.Tensor], epoch: int, index: int) -> None:
        """Train on (images, labels) of any device."""
        images, labels = (tensor.to(self.setup.device, non_blocking=True) for tensor in batch)
        images, labels = images.to(memory_format=self.layout), labels.flatten()
        if images.dtype == torch.uint8:
            images = torch.addcmul(self.shift, images.float(), self.scale)
        images, targets = self.mix(images, labels) if self.mix else (images, labels)
        smoothing = self.smoothing if targets.ndim == 1 or self.smooth_mixed else 0.0
        self.optimizer.zero_grad()
        with torch.autocast(self.setup.device.type, self.dtype, enabled=self.dtype is not None):
            logits = self.network(images)
            loss = F.cross_entropy(logits, targets, label_smoothing=smoothing)
        self.scaler.scale(loss).backward()
        if self.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.reads:
            self.loss += loss.item() * len(labels)
            self.correct += (logits.argmax(1) == labels).sum().item()


def make_optimizer(setup: TrainingSetup, model: nn.Module, parameters: list[nn.Parameter], fused: bool):
    """The recipe's optimiser at the schedule's first learning rate: torch's own, or the engine's Muon."""
    settings = setup.recipe.section("optim")
    updates = -(-len(setup.indices) // setup.recipe.section("train").batch)
    rate = build_schedule(setup.recipe, setup.stage, updates).at(0)[0]
    if settings.name == "muon":
        optimizer = build_optimizer(setup.recipe, model, setup.stage)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        return optimizer
    # False would choose the slowest form; None, the default, leaves the choice to torch.
    common = {"lr": rate, "weight_decay": settings.weight_decay, "fused": True if fused else None}
    if settings.name == "sgd":
        return torch.optim.SGD(parameters, momentum=settings.momentum, nesterov=settings.nesterov, **common)
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(parameters, betas=(settings.beta1, settings.beta2), eps=settings.eps, **common)


def make_mixing(setup: TrainingSetup) -> Callable | None:
    """torchvision's CutMix and MixUp with the recipe's probabilities; None if it mixes nothing."""
    mix = setup.recipe.section("mix")
    if not mix.p:
        return None
    cutmix_share = {"cutmix": 1.0, "mixup": 0.0}.get(mix.kind, setup.recipe.get("mix.switch_p"))
    kinds = [(share, kind(alpha=getattr(mix, f"{name}_alpha"), num_classes=setup.classes))
             for share, kind, name in ((cutmix_share, v2.CutMix, "cutmix"), (1 - cutmix_share, v2.MixUp, "mixup"))
             if share]
    return v2.RandomApply([v2.RandomChoice([kind for _, kind in kinds], [share for share, _ in kinds])], mix.p)
