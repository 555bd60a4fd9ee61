"""Rows of the fault table: losses and gradients that are not finite, two runs in one folder, data that changes."""

import os
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.drills import small_run
from benchmarks.drills.hooks import at_steps, wrap_step
from benchmarks.drills.processes import Failpoints
from benchmarks.drills.table import Checks
from engine.storage import checkpoint
from engine.training.precision import Precision

# (epoch, step) of the batch that is spoiled.
SPOILED = (0, 4)


def spoil(hook: Callable[[object], object]) -> Callable[[Failpoints], None]:
    """A `prepare` that trains on the SPOILED batch with the hook that `hook(model)` registers."""
    def spoiled(plain, self, images_bhwc, labels, epoch, step):
        handle = hook(self.model) if (epoch, step) == SPOILED else None
        try:
            return plain(self, images_bhwc, labels, epoch, step)
        finally:
            if handle:
                handle.remove()

    return lambda failpoints: wrap_step(spoiled)


def is_finite(folder: Path) -> bool:
    """Whether all weights in the run's last checkpoint are finite."""
    saved = checkpoint.load(folder / "checkpoints" / "last.pt")
    return all(bool(tensor.isfinite().all()) for tensor in saved["model"].values() if tensor.is_floating_point())


def not_finite(checks: Checks, place: Path, hook: Callable[[object], object]) -> None:
    """Each value of train.on_nan with a spoiled batch; a stopped run is resumed with rollback."""
    small_run.start_or_resume(place, "whole")
    for value in ("stop", "skip", "rollback"):
        folder = place / value
        ended = small_run.start_or_resume(place, value, f"--train.on_nan={value}", prepare=spoil(hook))
        if value == "stop":
            checks.refuses(ended, r"epoch 1, step \d+ \(samples \d.*last.pt is from before it")
            checks.survives(lambda folder=folder: is_finite(folder))
            ended = small_run.resume(place, value, "--train.on_nan=rollback", prepare=spoil(hook))
        checks.survives(ended, small_run.weights_of(folder) is not None and is_finite(folder))


def nan_loss(checks: Checks, place: Path) -> None:
    """a loss that is NaN at a step: told with its samples, passed over where that is asked for."""
    not_finite(checks, place, lambda model: model.register_forward_hook(
        lambda module, given, output: output * float("nan")))


def nan_statistics(checks: Checks, place: Path) -> None:
    """a batch norm whose statistics become NaN."""
    def hook(model):
        norm = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
        return norm.register_forward_pre_hook(lambda module, given: (given[0] + float("inf"),))

    not_finite(checks, place, hook)


def infinite_gradient(checks: Checks, place: Path) -> None:
    """a gradient that is infinite under a loss that is a number."""
    not_finite(checks, place, lambda model: next(model.parameters()).register_hook(
        lambda gradient: gradient * float("inf")))


def fp16(checks: Checks, place: Path) -> None:
    """infinite gradients under fp16: the update is left out and the scale halves."""
    precision = Precision("fp16", torch.device("cpu"))
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([weight], lr=0.1)

    def update(factor: float) -> tuple[bool, float]:
        optimizer.zero_grad()
        precision.backward((weight * factor).sum())
        before = precision.scaler.get_scale()
        moved = precision.update(optimizer, [weight], clip_norm=1.0)
        return moved, precision.scaler.get_scale() / before

    for bad in (float("inf"), float("nan"), 3e38):
        before = weight.detach().clone()
        checks.survives(lambda bad=bad: update(bad) == (False, 0.5))
        checks.survives(lambda before=before: torch.equal(weight, before))
        checks.survives(lambda: update(1.0)[0] and bool(weight.isfinite().all()))


def second_run(checks: Checks, place: Path) -> None:
    """a second run in the same folder, at once and afterwards."""
    weights = small_run.undisturbed_weights(place)
    (paused, pause), (resumed, let_go) = os.pipe(), os.pipe()

    def wait() -> None:
        os.write(pause, b"!")
        os.read(resumed, 1)

    words = small_run.arguments(place / "run", place / "cache")
    fresh = [word for word in words if word not in ("--resume", "auto")]
    first = os.fork()
    if first == 0:
        os._exit(small_run.train_forked(words, place / "first.log", prepare=at_steps({3: wait})).status)
    os.read(paused, 1)
    checks.refuses(small_run.train_forked(fresh, place / "log"), "already holds a run")
    checks.refuses(small_run.train_forked(words, place / "log"), "is in use by process")
    checks.refuses(small_run.resume(place, "run"), "is in use by process")
    os.write(let_go, b"!")
    _, status = os.waitpid(first, 0)
    checks.survives(lambda: status == 0 and small_run.weights_of(place / "run") == weights)
    checks.refuses(small_run.train_forked(fresh, place / "log"), "already holds a run")


def changed_data(checks: Checks, place: Path) -> None:
    """a beton that is damaged while a run rests, and while it trains."""
    weights = small_run.undisturbed_weights(place)
    small_run.interrupted(place)
    betons = sorted((place / "cache").glob("*.beton"))
    for beton in betons:
        whole = beton.read_bytes()
        beton.write_bytes(whole[:-7] + b"changed")
    ended = small_run.start_or_resume(place, "run")
    checks.survives(ended, small_run.weights_of(place / "run") == weights, "rewriting it")

    def spoil_train() -> None:
        train = next(beton for beton in betons if "train" in beton.name)
        with train.open("r+b") as file:
            file.seek(-4, 2)
            file.write(b"torn")

    torn = small_run.start_or_resume(place, "torn", prepare=at_steps({3: spoil_train}))
    checks.refuses(torn, "was changed or removed while the run")
    checks.survives(small_run.start_or_resume(place, "torn"), small_run.weights_of(place / "torn") == weights)


ROWS = (nan_loss, nan_statistics, infinite_gradient, fp16, second_run, changed_data)
