"""The comparison of a step mode with the eager step: what it measures, and that it detects errors."""

import math

import pytest
import torch
from torchvision.ops import StochasticDepth

from benchmarks.common import step_check
from benchmarks.common.step_check import check_mode, step_losses
from engine.build.run import build
from engine.common.errors import EngineError
from engine.training.forward import ForwardPass
from recipes.settings.load import load

TRAINS = pytest.mark.slow("builds a run and trains some steps")

# 270 images are left for training: three steps per epoch.
SMALL = {"data.train_count": 300, "data.test_count": 100, "data.resolution": 16, "train.batch": 90, "model.width": 4,
         "model.depth": 3, "model.dropout": 0, "train.precision": "fp32", "train.device": "cpu", "train.threads": 1}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@TRAINS
def test_a_mode_whose_loss_is_not_finite_is_refused_in_one_line(recipe, monkeypatch):
    monkeypatch.setattr(ForwardPass, "__call__", lambda *_: torch.tensor([float("nan"), 0, 90], dtype=torch.float64))
    with pytest.raises(EngineError, match="the recipe's own step gives a loss that is not finite at step 0"):
        check_mode(recipe(), "compile", 3)


@pytest.fixture
def recipe(cache):
    return lambda **more: load("quickstart", settings={
        **SMALL, "data.cache": str(cache), **{key.replace("__", "."): value for key, value in more.items()}})


@pytest.fixture
def losses_of(recipe):
    """The losses of a recipe's first steps, after `change` altered its network."""
    def found(steps, change=lambda model: None, **more):
        run = build(recipe(**more))
        try:
            change(run.model)
            return step_losses(run, steps)
        finally:
            run.close()

    return found


@TRAINS
def test_the_losses_equal_those_of_training_over_epochs(recipe, losses_of):
    run = build(recipe())
    try:
        records = run.loop.run()
        whole = [next(records).train_loss for _ in range(2)]
    finally:
        run.close()
    found = losses_of(6)
    assert len(found) == 6 and losses_of(4) == found[:4]
    assert whole == pytest.approx([sum(found[:3]) / 3, sum(found[3:]) / 3], rel=1e-12)


@TRAINS
def test_a_smaller_last_batch_counts_as_a_mean_too(losses_of):
    uneven = losses_of(3, train__batch=130)
    assert all(1 < loss < 5 for loss in uneven), uneven


def skip_half(model):
    model.features.append(StochasticDepth(0.5, "row"))


@TRAINS
def test_dropout_and_stochastic_depth_draw_nothing(losses_of):
    plain = losses_of(3)
    assert losses_of(3, model__dropout=0.9) == plain
    assert losses_of(3, skip_half) == plain


@TRAINS
def test_more_steps_than_the_first_stage_has_are_refused(recipe):
    stages = [{"name": "short", "epochs": 2, "lrs": {"*": 0.1}}, {"name": "long", "epochs": 9, "lrs": {"*": 0.1}}]
    with pytest.raises(EngineError, match="7 steps cannot be compared, stage short of quickstart has 6") as caught:
        check_mode(recipe(train__stages=stages), "compile", 7)
    assert "\n" not in str(caught.value)


def plain(forward):
    return forward


class Wrong(ForwardPass):
    """Right until its third call, in which it trains on the negated loss."""

    def __init__(self, forward):
        self.__dict__.update(vars(forward), calls=0)

    def __call__(self, images_bhwc, labels, size_px, mix, share, before=None):
        self.calls += 1
        return super().__call__(images_bhwc, labels, size_px, mix, -50 * share if self.calls == 3 else share, before)


def use_executor(monkeypatch, compiled):
    """Make the step mode compile use the executor `compiled`; returns the modes that were requested."""
    asked = []
    monkeypatch.setattr("engine.training.step.build_executor", lambda mode, forward, in_parts: asked.append(mode) or {
        "eager": plain, "compile": compiled}[mode](forward))
    return asked


@TRAINS
def test_an_executor_that_does_the_same_has_the_same_losses(recipe, monkeypatch):
    asked = use_executor(monkeypatch, plain)
    found = check_mode(recipe(), "compile", 4)
    assert asked == ["eager", "compile"]
    assert (found.mode, found.precision, found.steps, found.allowed) == ("compile", "fp32", 4, 2e-3)
    assert found.largest == found.mean == 0


@TRAINS
def test_an_executor_that_learns_wrongly_is_detected(recipe, monkeypatch):
    use_executor(monkeypatch, Wrong)
    assert check_mode(recipe(), "compile", 3).largest == 0, "the third update shows in the fourth loss"
    with pytest.raises(EngineError, match="train.step=compile does not compute what eager does: at step") as caught:
        check_mode(recipe(), "compile", 5)
    assert "use --train.step=eager" in str(caught.value) and "\n" not in str(caught.value)


ENDS = {"schedule__name": "linear", "schedule__lrs": {"features.0.*": 0.02, "*": 0.02},
        "schedule__ends": {"features.0.*": 50}, "train__epochs": 100}


@TRAINS
def test_the_second_half_of_the_steps_is_without_the_parts_that_end_in_the_run(recipe, monkeypatch):
    class WrongWithoutTheFirst(ForwardPass):
        """Right as long as the first convolution trains."""

        def __init__(self, forward):
            self.__dict__.update(vars(forward))

        def __call__(self, *arguments, **options):
            counts = super().__call__(*arguments, **options)
            if not self.model.features[0].weight.requires_grad:
                for parameter in self.model.parameters():
                    parameter.grad = None if parameter.grad is None else 9 * parameter.grad
            return counts

    use_executor(monkeypatch, WrongWithoutTheFirst)
    assert check_mode(recipe(**ENDS), "compile", 2).largest == 0, "the second update shows in the third loss"
    # The third step of five is the first without it.
    with pytest.raises(EngineError, match="train.step=compile does not compute what eager does: at step 3"):
        check_mode(recipe(**ENDS), "compile", 5)


@TRAINS
@pytest.mark.parametrize(("end", "jump"), [(1, 1), (6, 4), (8, 6)])
def test_the_parts_end_where_the_schedule_has_enough_updates_left(recipe, end, jump):
    """Ten updates, of which eight are checked; without the first part all that remain are taken."""
    run = build(recipe(**ENDS | {"train__batch": 270, "train__epochs": 10,
                                 "schedule__ends": {"features.0.*": end}}))
    frozen, step = [], run.step
    run.step.part_ended = lambda: frozen.append(step.updates)
    try:
        step_losses(run, 8)
    finally:
        run.close()
    assert frozen == [end] and step.updates == end + 8 - jump


@pytest.fixture
def planted(monkeypatch):
    """Give the modes these losses; returns the modes whose runs were closed."""
    log = []

    class Planted:
        def __init__(self, mode, precision):
            self.mode, self.precision = mode, precision

        def close(self):
            log.append(self.mode)

    def plant(eager, fast, name="fp32"):
        precision = type("P", (), {"name": name})()
        monkeypatch.setattr(step_check, "build", lambda recipe: Planted(recipe.values["train.step"], precision))
        monkeypatch.setattr(step_check, "step_losses", lambda run, steps: {"eager": eager, "graph": fast}[run.mode])
        return log

    return plant


def test_differences_are_shares_of_the_plain_loss(planted, recipe):
    log = planted([2.0, 1.0, 4.0], [2.002, 1.0015, 3.996])
    found = check_mode(recipe(), "graph", 3)
    assert found.largest == pytest.approx(1.5e-3) and found.mean == pytest.approx(3.5e-3 / 3)
    assert log == ["eager", "graph"]


@pytest.mark.parametrize(("name", "allowed"), [("fp32", 2e-3), ("fp16", 2e-2), ("bf16", 5e-2)])
def test_each_precision_has_its_tolerance(planted, recipe, name, allowed):
    planted([1.0, 1.0], [1.0, 1 + 0.99 * allowed], name)
    assert check_mode(recipe(), "graph", 2).allowed == allowed
    planted([1.0, 1.0], [1.0, 1 + 1.01 * allowed], name)
    with pytest.raises(EngineError, match=f"at step 1 the loss is .* instead of 1.00000 \\({name}"):
        check_mode(recipe(), "graph", 2)


@pytest.mark.parametrize(("eager", "fast"), [
    ([1.0, 1.0, 1.0], [1.0, math.nan, 1.0]), ([1.0, 1.0, 1.0], [1.0, math.inf, 1.0]),
    ([1.0, math.nan, 1.0], [1.0, 1.0, 1.0]), ([1.0, math.inf, 1.0], [1.0, math.inf, 1.0])], ids=str)
def test_a_loss_that_is_not_finite_is_never_within_bounds(planted, recipe, eager, fast):
    planted(eager, fast)
    with pytest.raises(EngineError, match="at step 1 the loss is"):
        check_mode(recipe(), "graph", 3)


def test_a_run_that_fails_is_closed(planted, recipe, monkeypatch):
    log = planted([1.0], [1.0])
    monkeypatch.setattr(step_check, "step_losses", lambda run, steps: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        check_mode(recipe(), "graph", 1)
    assert log == ["eager"]
