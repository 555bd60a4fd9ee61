"""Stages: what trains when and at which rate, what frozen batch norms do, and three of them end to end."""

from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from engine.common.errors import EngineError
from engine.models.resnet import ResNet
from engine.optim.averaging import Lookahead
from engine.optim.param_groups import build_optimizer, by_pattern, split_decay
from engine.optim.schedule import OneCycle, lr_after_epochs
from engine.training.criterion import CRITERIA
from engine.training.forward import ForwardPass, ToInput
from engine.training.loop import Loop, Stops
from engine.training.precision import Precision
from engine.training.stages import Stage, always_frozen, freeze, in_order, set_modes, stage_of
from engine.training.step import TrainStep

CPU = torch.device("cpu")
STAGES = in_order([
    {"name": "head", "epochs": 2, "lrs": {"fc": 0.04}, "frozen": ("*",)},
    {"name": "upper", "epochs": 3, "lrs": {"layer3": 0.005, "layer4": 0.01, "fc": 0.02}, "frozen": ("*",)},
    {"name": "all", "epochs": 2, "lrs": {"layer1": 0.001, "layer2": 0.002, "layer3": 0.003, "layer4": 0.004,
                                         "fc": 0.008}, "frozen": ("conv1", "bn1")},
])
TRAINS = {"head": {"fc"}, "upper": {"layer3", "layer4", "fc"}, "all": {"layer1", "layer2", "layer3", "layer4", "fc"}}
MOMENTUM = {"momentum_low": 0.85, "momentum_high": 0.95}
STEPS = 3


def network():
    torch.manual_seed(0)
    return ResNet(5, 8, dropout=0.0, blocks=(1, 1, 1, 1), width=8)


def stage(lrs, frozen=(), **more):
    return Stage("one", 0, 1, lrs, tuple(frozen), **more)


def training(model):
    """Names of the parameters that train."""
    return {name for name, p in model.named_parameters() if p.requires_grad}


def parts(names):
    return {name.partition(".")[0] for name in names}


def test_stages_follow_one_another():
    assert [(each.name, each.first_epoch, each.end) for each in STAGES] == [
        ("head", 0, 2), ("upper", 2, 5), ("all", 5, 7)]
    assert [stage_of(STAGES, epoch).name for epoch in range(9)] == [
        "head", "head", "upper", "upper", "upper", "all", "all", "all", "all"]
    assert in_order([]) == ()


@pytest.mark.parametrize("each", STAGES, ids=lambda each: each.name)
def test_each_stage_trains_what_its_rates_name(each):
    model = network()
    freeze(model, each)
    expected = {name for name, _ in model.named_parameters() if name.partition(".")[0] in TRAINS[each.name]}
    assert training(model) == expected


def test_freezing_is_undone_by_the_stage_that_follows():
    model = network()
    for each in (STAGES[0], STAGES[2], STAGES[0]):
        freeze(model, each)
        assert parts(training(model)) == TRAINS[each.name]


def test_a_parameter_named_by_both_trains():
    model = network()
    freeze(model, stage({"*.bn?": 0.1, "*.bn?.*": 0.1, "bn1": 0.1}, ["*"]))
    assert training(model) == {name for name, _ in model.named_parameters() if ".bn" in name or name.startswith("bn1")}


def test_what_the_network_itself_holds_stays_frozen():
    model = network()
    model.conv1.requires_grad_(False)
    fixed = always_frozen(model)
    assert fixed == {"conv1.weight"}
    freeze(model, stage({"*": 0.1}), fixed)
    assert parts(training(model)) == {"bn1", "layer1", "layer2", "layer3", "layer4", "fc"}
    freeze(model, stage({"fc": 0.1}, ["*"]), fixed)
    freeze(model, stage({"*": 0.1}), fixed)
    assert not model.conv1.weight.requires_grad and model.layer1[0].conv1.weight.requires_grad


@pytest.mark.parametrize(("each", "message"), [
    (stage({"fc": 0.1, "layer9": 0.1}), r"stage one: conv1\.weight matches neither its lrs \(fc, layer9\) nor its "
     r"frozen patterns; name it in one of them \(frozen: \* takes the rest\)$"),
    (stage({"fc": 0.1, "layer?": 0.1, "layer?.*": 0.1}, ["conv1"]), r"stage one: bn1\.weight matches neither"),
    (stage({"*": 0.1}, ["conv1"]), "stage one: the frozen pattern conv1 names no parameter that its lrs leave; correct "
     "it or leave it out$"),
    (stage({"fc": 0.1}, ["*", "layer9"]), "the frozen pattern layer9 names no parameter"),
])
def test_parameters_without_a_pattern_and_idle_patterns_are_refused(each, message):
    with pytest.raises(EngineError, match=message) as error:
        freeze(network(), each)
    assert "\n" not in str(error.value)


def test_a_frozen_pattern_over_fixed_parameters_only_is_idle():
    model = network()
    model.conv1.requires_grad_(False)
    with pytest.raises(EngineError, match="the frozen pattern conv1 names no parameter"):
        freeze(model, stage({"*": 0.1}, ["conv1"]), always_frozen(model))


def count_of(model, each):
    """How many parameters a stage of STAGES trains."""
    return sum(len(list(getattr(model, part).parameters())) for part in TRAINS[each.name])


def fields_of(each):
    """A stage's fields as in_order takes them."""
    return {key: value for key, value in vars(each).items() if key != "first_epoch"}


def norms(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}


@pytest.mark.parametrize("moving", [False, True])
def test_frozen_batch_norms_keep_their_statistics_unless_they_may_move(moving):
    model, images = network(), torch.randn(6, 3, 8, 8)
    each = stage({"layer3": 0.1, "layer4": 0.1, "fc": 0.1}, ["*"], moving_statistics=moving)
    freeze(model, each)
    before = {name: (norm.running_mean.clone(), norm.running_var.clone(), norm.num_batches_tracked.clone())
              for name, norm in norms(model).items()}
    set_modes(model.eval(), each)
    model(images)
    for name, norm in norms(model).items():
        moves = moving or name.startswith(("layer3", "layer4"))
        assert norm.training is moves, name
        now = (norm.running_mean, norm.running_var, norm.num_batches_tracked)
        assert [not torch.equal(a, b) for a, b in zip(before[name], now, strict=True)] == [moves] * 3, name
    assert all(module.training for module in model.modules() if not isinstance(module, nn.BatchNorm2d))


def test_a_frozen_batch_norm_normalises_by_its_statistics():
    model, images = network(), torch.randn(6, 3, 8, 8)
    model.bn1.running_mean.fill_(0.5)
    model.bn1.running_var.fill_(4.0)
    each = stage({"fc": 0.1}, ["*"])
    freeze(model, each)
    set_modes(model, each)
    made = []
    # The activation after it works in place: a copy is kept.
    model.bn1.register_forward_hook(lambda _, taken, given: made.append((taken[0], given.clone())))
    model(images)
    torch.testing.assert_close(made[0][1], (made[0][0] - 0.5) / (4 + 1e-5) ** 0.5)


def test_a_batch_norm_with_one_frozen_parameter_still_follows_its_batches():
    model = network()
    each = stage({"bn1.bias": 0.1, "fc": 0.1}, ["*"])
    freeze(model, each)
    set_modes(model, each)
    assert (model.bn1.weight.requires_grad, model.bn1.bias.requires_grad) == (False, True)
    assert model.bn1.training and not model.layer1[0].bn1.training
    before = model.bn1.running_mean.clone()
    model(torch.randn(6, 3, 8, 8))
    assert not torch.equal(model.bn1.running_mean, before)


def test_modes_come_back_when_the_next_stage_trains_them():
    model = network()
    for each, moves in ((STAGES[0], set()), (STAGES[1], {"layer3", "layer4"}),
                        (STAGES[2], {"layer1", "layer2", "layer3", "layer4"})):
        freeze(model, each)
        set_modes(model, each)
        assert {name.partition(".")[0] for name, norm in norms(model).items() if norm.training} == moves


class Feed:
    """STEPS batches an epoch of random images, others in each epoch."""

    def __len__(self):
        return STEPS

    @contextmanager
    def epoch(self, epoch, start=0):
        yield self._batches(epoch, start)

    def _batches(self, epoch, start):
        generator = torch.Generator().manual_seed(epoch)
        made = [(torch.randint(0, 256, (6, 8, 8, 3), dtype=torch.uint8, generator=generator),
                 torch.randint(0, 5, (6,), generator=generator)) for _ in range(STEPS)]
        for images, labels in made[start:]:
            yield SimpleNamespace(images_bhwc=images, labels=labels)


class Staged:
    """A loop over stages on the small network, as a composition root makes one, each stage with its own OneCycle.

    `entered` notes each stage, its optimiser and the weights that it found.
    """

    def __init__(self, name="sgd", stages=STAGES, lookahead=0, **options):
        self.model, self.name, self.entered = network(), name, []
        compute = ForwardPass(self.model, ToInput((0.5,) * 3, (0.25,) * 3, CPU), Precision("fp32", CPU))
        slow = Lookahead(self.model.parameters(), lookahead, 0.5) if lookahead else None
        self.step = TrainStep(compute, steps_per_epoch=STEPS, lookahead=slow)
        self.loop = Loop(self.step, Feed(), stages, start_stage=self.enter, set_modes=partial(set_modes, self.model),
                         **options)

    def enter(self, each):
        freeze(self.model, each)
        settings = {"momentum": 0.9, "nesterov": True} if self.name == "sgd" else {}
        groups = split_decay(by_pattern(self.model, each.lrs), 5e-4, True)
        optimizer = build_optimizer(self.name, groups, **settings)
        self.step.start_stage(optimizer, OneCycle(max(each.lrs.values()), STEPS * each.epochs, **MOMENTUM))
        self.entered.append((each, optimizer, self.state()))

    def state(self):
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}


def test_lookahead_moves_no_frozen_parameter_and_pulls_none_to_an_earlier_stage():
    stages = in_order([{"name": "all", "epochs": 1, "lrs": {"*": 0.1}},
                       {"name": "head", "epochs": 2, "lrs": {"fc": 0.1}, "frozen": ("*",)},
                       {"name": "again", "epochs": 1, "lrs": {"*": 0.1}}])
    # Of 3 updates per epoch: at each stage's start the copy is behind the weights.
    run = Staged(stages=stages, lookahead=4)
    list(run.loop.run())
    (_, _, before), (_, _, after) = run.entered[1:]
    for name, _ in run.model.named_parameters():
        assert torch.equal(before[name], after[name]) == (not name.startswith("fc")), name
    assert all(torch.equal(slow, fast) for slow, fast in zip(run.step.lookahead.state_dict()["slow"],
                                                             run.model.parameters(), strict=True))


@pytest.fixture(scope="module")
def trained():
    """A run over all three stages, with what each stage began and ended with: [(stage, before, after)]."""
    run = Staged()
    list(run.loop.run())
    begun = [state for _, _, state in run.entered]
    return [(each, before, after) for (each, _, before), after in zip(run.entered, [*begun[1:], run.state()],
                                                                      strict=True)]


@pytest.mark.parametrize("number", range(3))
def test_exactly_the_parameters_of_a_stage_move(trained, number):
    each, before, after = trained[number]
    parameters = {name for name, _ in network().named_parameters()}
    assert each.name == STAGES[number].name
    assert {name for name in parameters if not torch.equal(before[name], after[name])} == {
        name for name in parameters if name.partition(".")[0] in TRAINS[each.name]}


@pytest.mark.parametrize("number", range(3))
def test_exactly_the_statistics_of_training_batch_norms_move(trained, number):
    each, before, after = trained[number]
    buffers = {name for name, _ in network().named_buffers()}
    assert {name for name in buffers if not torch.equal(before[name], after[name])} == {
        name for name in buffers if name.partition(".")[0] in TRAINS[each.name]}


def test_every_parts_rate_and_momentum_are_its_own_onecycle_at_every_step():
    seen, expected = [], []

    def note(loop):
        for group in loop.step.optimizer.param_groups:
            seen.append((loop.stage.name, loop.progress.epoch, group["pattern"], group["lr"], group["momentum"]))

    run = Staged(between_steps=note)
    list(run.loop.run())
    for each in STAGES:
        theirs = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "pattern": pattern}
                                  for pattern in each.lrs], 1.0, momentum=0.9)
        schedule = torch.optim.lr_scheduler.OneCycleLR(theirs, list(each.lrs.values()), base_momentum=0.85,
                                                       max_momentum=0.95, total_steps=STEPS * each.epochs)
        for number in range(STEPS * each.epochs):
            for group in theirs.param_groups:
                expected.append((each.name, each.first_epoch + number // STEPS, group["pattern"], group["lr"],
                                 group["momentum"]))
            theirs.step()
            schedule.step()
    assert [row[:3] for row in seen] == [row[:3] for row in expected]
    for ours, row in zip(seen, expected, strict=True):
        assert ours[3:] == pytest.approx(row[3:], rel=1e-9), row


def test_the_recorded_rate_is_the_plans_of_the_fastest_part():
    records = list(Staged().loop.run())
    for each in STAGES:
        schedule = OneCycle(max(each.lrs.values()), STEPS * each.epochs)
        assert [record.lr for record in records[each.first_epoch: each.end]] == pytest.approx(
            lr_after_epochs(schedule, STEPS, each.epochs))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_optimisers_state_starts_anew_and_the_runs_updates_count_on(name):
    run, met = Staged(name), []
    enter = run.enter

    def noting(each):
        enter(each)
        met.append((len(run.step.optimizer.state), run.step.updates, run.step.updates_done))

    run.loop.start_stage = noting
    records = list(run.loop.run())
    assert met == [(0, 0, 2 * STEPS), (0, 0, 5 * STEPS)] and len(records) == 7
    optimizers = [optimizer for _, optimizer, _ in run.entered]
    assert len({id(optimizer) for optimizer in optimizers}) == 3 and run.step.optimizer is optimizers[2]
    assert [len(optimizer.state) for optimizer in optimizers] == [count_of(run.model, each) for each in STAGES]


def test_a_stage_is_that_of_a_fresh_run_from_its_weights(trained):
    _, before, after = trained[1]
    alone = Staged(stages=[STAGES[1]])
    alone.model.load_state_dict(before)
    alone.loop.progress.epoch = STAGES[1].first_epoch
    list(alone.loop.run())
    assert all(torch.equal(value, after[name]) for name, value in alone.state().items())


def test_what_a_checkpoint_holds_after_a_stages_last_epoch_is_the_next_stages_beginning():
    run, seen = Staged(), []
    for record in run.loop.run():
        seen.append((record.epoch, run.loop.stage.name, run.step.updates, len(run.step.optimizer.param_groups),
                     len(run.step.optimizer.state)))
    fc, upper, everything = (count_of(run.model, each) for each in STAGES)
    assert seen == [(0, "head", 3, 1, fc), (1, "upper", 0, 3, 0), (2, "upper", 3, 3, upper), (3, "upper", 6, 3, upper),
                    (4, "all", 0, 5, 0), (5, "all", 3, 5, everything), (6, "all", 6, 5, everything)]


def test_patience_counts_anew_in_each_stage_of_a_real_run():
    losses = iter([1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    run = Staged(watch=lambda: SimpleNamespace(loss=next(losses), top1=0.0), stops=Stops(patience=3),
                 criterion=CRITERIA["loss"])
    # One without gain in the first stage, then three in the second: counted on, the third would already be the end.
    assert [record.epoch for record in run.loop.run()] == [0, 1, 2, 3, 4]
    assert run.loop.progress.stopped == "no better loss for 3 epochs"


@pytest.mark.parametrize(("number", "frozen"), [(0, ["conv1", "layer1", "layer2", "layer3", "layer4"]),
                                                (1, ["conv1", "layer1", "layer2"]), (2, ["conv1"])])
def test_frozen_layers_cost_no_backward_pass(number, frozen):
    run, reached = Staged(stages=in_order([fields_of(STAGES[number])])), {}

    def note(name, _, __, made):
        reached[name] = made.requires_grad and made.grad_fn is not None

    for name, module in run.model.named_children():
        module.register_forward_hook(partial(note, name))
    zero_grad, gradients = run.step.optimizer.zero_grad, {}

    def look_then_zero(**how):
        gradients.update({name: p.grad is not None for name, p in run.model.named_parameters()})
        zero_grad(**how)

    run.step.optimizer.zero_grad = look_then_zero
    next(run.loop.run())
    layers = ["conv1", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert [name for name in layers if not reached[name]] == frozen
    assert {name for name, has in gradients.items() if has} == training(run.model)
    assert parts(training(run.model)) == TRAINS[STAGES[number].name]
