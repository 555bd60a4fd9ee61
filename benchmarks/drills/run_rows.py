"""Rows of the fault table: losses and gradients that are no numbers, two runs in one folder, data that changes."""

import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.drills.checkpoint_rows import go, live_train, stopped, undisturbed
from benchmarks.drills.child_process import Watch
from benchmarks.drills.hooks import at_steps
from benchmarks.drills.kills import weights_of, words_of
from benchmarks.drills.table import Tries

# (epoch, step) of the batch that is spoiled, each time it is tried.
SPOILED = (0, 4)
WAYS = ("stop", "skip", "rollback")


def spoil(hook: Callable[[object], list]) -> Callable[[Watch], None]:
    """What prepares a life in which the SPOILED batch is trained on with the hooks that `hook(model)` puts in."""
    def prepare(watch: Watch) -> None:
        from engine.training.step import TrainStep

        plain = TrainStep.__call__

        def spoiled(self, images_bhwc, labels, epoch, step):
            handles = hook(self.model) if (epoch, step) == SPOILED else []
            try:
                return plain(self, images_bhwc, labels, epoch, step)
            finally:
                for handle in handles:
                    handle.remove()

        TrainStep.__call__ = spoiled

    return prepare


def logits(model) -> list:
    """The network answers NaN."""
    return [model.register_forward_hook(lambda module, given, answer: answer * float("nan"))]


def batch_norm(model) -> list:
    """The first batch norm is given an infinity, so that its running statistics stop being numbers."""
    import torch

    norm = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    return [norm.register_forward_pre_hook(lambda module, given: (given[0] + float("inf"),))]


def gradient(model) -> list:
    """The loss is a number and one gradient infinite."""
    return [next(model.parameters()).register_hook(lambda gradient: gradient * float("inf"))]


def is_finite(folder: Path) -> bool:
    """Whether the run's last checkpoint holds nothing but numbers."""
    from engine.storage import checkpoint

    saved = checkpoint.load(folder / "checkpoints" / "last.pt")
    return all(bool(tensor.isfinite().all()) for tensor in saved["model"].values() if tensor.is_floating_point())


def no_number(tries: Tries, place: Path, hook: Callable[[object], list]) -> None:
    """Each way of train.on_nan with a spoiled batch; after a stop the run goes past it by rollback."""
    go(place, "whole")
    for way in WAYS:
        folder = place / way
        ended = go(place, way, f"--train.on_nan={way}", prepare=spoil(hook))
        if way == "stop":
            tries.command_refuses(ended, r"epoch 1, step \d+ \(samples \d.*last.pt is from before it")
            tries.survives(lambda folder=folder: is_finite(folder))
            words = ["--resume", str(folder), "--train.on_nan=rollback"]
            ended = live_train(words, place / "log", spoil(hook))
        tries.command_survives(ended, weights_of(folder) is not None and is_finite(folder))


def nan_loss(tries: Tries, place: Path) -> None:
    """a loss that is NaN at a step: told with its samples, passed over where that is asked for."""
    no_number(tries, place, logits)


def nan_statistics(tries: Tries, place: Path) -> None:
    """a batch norm whose statistics become NaN."""
    no_number(tries, place, batch_norm)


def infinite_gradient(tries: Tries, place: Path) -> None:
    """a gradient that is infinite under a loss that is a number."""
    no_number(tries, place, gradient)


def fp16(tries: Tries, place: Path) -> None:
    """infinite gradients under fp16: the update is left out and the scale halves."""
    import torch

    from engine.training.precision import Precision

    arithmetic = Precision("fp16", torch.device("cpu"))
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([weight], lr=0.1)

    def update(factor: float) -> tuple[bool, float]:
        optimizer.zero_grad()
        arithmetic.backward((weight * factor).sum())
        before = arithmetic.scaler.get_scale()
        moved = arithmetic.update(optimizer, [weight], clip_norm=1.0)
        return moved, arithmetic.scaler.get_scale() / before

    for bad in (float("inf"), float("nan"), 3e38):
        before = weight.detach().clone()
        tries.survives(lambda bad=bad: update(bad) == (False, 0.5))
        tries.survives(lambda before=before: torch.equal(weight, before))
        tries.survives(lambda: update(1.0)[0] and bool(weight.isfinite().all()))


def second_run(tries: Tries, place: Path) -> None:
    """a second run in the same folder, at once and afterwards."""
    weights = undisturbed(place)
    (told, tell), (asked, ask) = os.pipe(), os.pipe()

    def stand_still() -> None:
        os.write(tell, b"!")
        os.read(asked, 1)

    words = words_of(place / "run", place / "cache")
    first = os.fork()
    if first == 0:
        ended = live_train(words, place / "first.log", at_steps({3: stand_still}))
        os._exit(ended.status)
    os.read(told, 1)
    fresh = [word for word in words if word not in ("--resume", "auto")]
    tries.command_refuses(live_train(fresh, place / "log"), "already holds a run")
    tries.command_refuses(live_train(words, place / "log"), "is in use by process")
    tries.command_refuses(live_train(["--resume", str(place / "run")], place / "log"), "is in use by process")
    os.write(ask, b"!")
    _, status = os.waitpid(first, 0)
    tries.survives(lambda: status == 0 and weights_of(place / "run") == weights)
    tries.command_refuses(live_train(fresh, place / "log"), "already holds a run")


def changed_data(tries: Tries, place: Path) -> None:
    """a beton that is damaged while a run rests, and while it trains."""
    weights = undisturbed(place)
    stopped(place)
    betons = sorted((place / "cache").glob("*.beton"))
    for beton in betons:
        whole = beton.read_bytes()
        beton.write_bytes(whole[:-7] + b"changed")
    tries.command_survives(go(place, "run"), weights_of(place / "run") == weights, "it is written anew")

    def spoil_train() -> None:
        train = next(beton for beton in betons if "train" in beton.name)
        with train.open("r+b") as file:
            file.seek(-4, 2)
            file.write(b"torn")

    tries.command_refuses(go(place, "torn", prepare=at_steps({3: spoil_train})), "was changed or removed while the run")
    tries.command_survives(go(place, "torn"), weights_of(place / "torn") == weights)


ROWS = (nan_loss, nan_statistics, infinite_gradient, fp16, second_run, changed_data)
