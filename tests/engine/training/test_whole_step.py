"""The step that is one CUDA graph, recorded and repeated by a stand-in on the CPU: it trains as the eager one does.

Recordings repeat what Python decided while they were made. So a rate, a mix or a number of a step that reached the
recording from the host, instead of from the device, shows as soon as it changes.
"""

from types import SimpleNamespace

import pytest
import torch

from engine.build.run import build, reset_to_seed
from engine.common import step_clock
from engine.optim import muon
from engine.optim.device_rates import DeviceRates
from engine.session.run_state import restore_state, state_of
from engine.training import executors, loop, recording
from engine.training.loop import Progress
from engine.training.nan_guard import NanGuard, NotFinite
from engine.training.whole_step import MIX as MIX_NUMBERS
from engine.training.whole_step import WholeStep
from recipes.settings.load import load
from tests.engine.training import recorded_graph

SMALL = {"data.train_count": 108, "data.test_count": 100, "data.validation": 0.0, "data.resolution": 16,
         "data.feed": "resident", "model.width": 8, "model.depth": 3, "train.batch": 20, "train.epochs": 3,
         "train.device": "cpu", "train.threads": 1, "train.precision": "fp32", "train.norms": "torch",
         "eval.watch": "none", "augment.policy": "crop(pad_px=2), flip(), jitter(hue=.1)"}
MIX = {"mix.p": 0.7, "mix.kind": "both", "mix.smooth": False}
STAGES = {"train.stages": (
    {"name": "head", "epochs": 1, "lrs": {"head": 0.1}, "frozen": ("*",)},
    {"name": "again", "epochs": 1, "lrs": {"head": 0.05}, "frozen": ("*",)},
    {"name": "all", "epochs": 2, "lrs": {"head": 0.1, "*": 0.05}, "moving_statistics": True}), "schedule.lr": None,
    "train.epochs": None}
CONSTANT = {"schedule.name": "constant", "schedule.lr": 0.02, "optim.nesterov": True}
MUON = {"optim.name": "muon", "optim.muon_for": ("features",), "schedule.lr": 0.02}
WAYS = {
    "onecycle moves the momentum": {},
    "a fixed momentum": CONSTANT,
    "no momentum": CONSTANT | {"optim.momentum": 0.0, "optim.nesterov": False},
    "mixed, resized and clipped": MIX | {"train.sizes": {0: 12, 1: 16}, "train.clip_norm": 0.5},
    "adam": {"optim.name": "adam", "schedule.lr": 0.01},
    "adam, fixed": {"optim.name": "adam", "schedule.name": "constant", "schedule.lr": 1e-3},
    "adamw": {"optim.name": "adamw", "schedule.lr": 0.01, "optim.decay_all": False},
    "muon beside sgd": MUON | {"optim.rest": "sgd", "optim.rest_momentum": 0.85, "optim.muon_scale": "unit",
                               "schedule.name": "linear"},
    "muon beside adamw, momentum moves": MUON | {"optim.rest": "adamw"},
    "averages": {"average.ema": 0.9, "average.ema_every": 2, "average.lookahead": 3},
    "dropout": {"model.dropout": 0.3},
    "stages": STAGES | MIX | {"average.ema": 0.9},
    # Both within an epoch of six batches; the part's momentum moves by its own schedule.
    "a part ends early, and sizes change at shares of the run": {
        "schedule.lrs": {"features.0.*": 0.02, "*": 0.05}, "schedule.ends": {"features.0.*": "40%"},
        "schedule.lr": None, "train.sizes": {"0%": 12, "25%": 16}, "average.lookahead": 3} | MIX,
}


@pytest.fixture(autouse=True)
def graphs_on_a_cpu(monkeypatch):
    recorded_graph.use(monkeypatch)
    monkeypatch.setattr(executors, "resolve", lambda mode, *_: "eager" if mode == "auto" else mode)
    # In bf16 a last bit decides the orthogonalised direction's third digit.
    monkeypatch.setattr(muon, "fast_dtype", lambda device: torch.float32)


@pytest.fixture
def built(tmp_path):
    runs = []

    def make(mode, **settings):
        chosen = SMALL | {"data.cache": f"{tmp_path}/cache", "train.step": mode} | settings
        run = build(load("quickstart", settings={path: value for path, value in chosen.items() if value is not None}))
        runs.append(run)
        return run

    yield make
    for run in runs:
        run.close()


def losses(run, epochs=None):
    """The mean training loss after each epoch and the first steps' tallies, in one list."""
    seen = []
    run.loop.between_steps = lambda loop: seen.append(loop.step.tally.clone())
    for record in run.loop.run():
        seen.append(torch.tensor(record.train_loss))
        if epochs and record.epoch + 1 == epochs:
            break
    return torch.cat([tally.double().flatten() for tally in seen])


def all_tensors(run):
    tensors = {f"model {name}": value for name, value in run.model.state_dict().items()}
    for follower in run.step.followers:
        tensors |= {f"{type(follower).__name__} {k}": value for k, value in enumerate(follower.tensors)}
    for k, part in enumerate(getattr(run.step.optimizer, "optimizers", (run.step.optimizer,))):
        for j, state in enumerate(part.state.values()):
            tensors |= {f"optimizer {k} {j} {key}": value for key, value in state.items() if value is not None}
    return tensors


def assert_same(one, other):
    ours, theirs = all_tensors(one), all_tensors(other)
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.parametrize("way", WAYS)
def test_it_trains_as_the_eager_step(built, way):
    eager, whole = built("eager", **WAYS[way]), built("graph", **WAYS[way])
    assert isinstance(whole.step, WholeStep) and not isinstance(eager.step, WholeStep)
    torch.manual_seed(5)
    expected = losses(eager)
    torch.manual_seed(5)
    torch.testing.assert_close(losses(whole), expected, rtol=1e-4, atol=1e-4)
    assert_same(whole, eager)
    assert whole.step.updates_done == eager.step.updates_done and whole.step.rate == eager.step.rate


def test_a_smaller_last_batch_another_size_and_what_is_due_have_recordings_of_their_own(built):
    run = built("graph", **{"train.sizes": {0: 12, 1: 16}, "average.ema": 0.9, "average.ema_every": 4})
    losses(run)
    # Six batches an epoch, the last one smaller; of the 18 updates every fourth is averaged, the first one copied.
    seen = {(shape[0], size, due) for shape, size, _, _, _, (due,), *_ in run.step.graphs}
    assert seen == {(20, 12, ""), (20, 12, "copy"), (8, 12, ""), (20, 16, ""), (20, 16, "average"), (8, 16, ""),
                    (8, 16, "average")}


def test_the_seconds_of_every_recording_are_counted_apart(built, monkeypatch):
    clock, record = SimpleNamespace(now=0.0), recording.record
    made = []

    def slow(*arguments):
        clock.now += 30.0
        made.append(record(*arguments))
        return made[-1]

    replay = recorded_graph.RecordedGraph.replay
    monkeypatch.setattr(recorded_graph.RecordedGraph, "replay",
                        lambda graph: (setattr(clock, "now", clock.now + 1.0), replay(graph)))
    monkeypatch.setattr(recording, "record", slow)
    for module in (loop, step_clock):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    run = built("graph", **WAYS["a part ends early, and sizes change at shares of the run"])
    losses(run)
    steps = run.loop.progress.steps_done
    assert len(made) > 4 and run.loop.progress.compile_seconds == 30 * len(made)
    assert run.loop.progress.train_seconds == steps
    reset_to_seed(run, run.recipe.changed({"train.seed": 1}))
    losses(run)
    assert run.loop.progress.compile_seconds == 0 and run.loop.progress.train_seconds == steps


def test_what_is_recorded_anew_is_another_program_to_the_clock(built, tmp_path):
    run = built("graph", **STAGES)
    stages, programs = run.loop.stages, []
    images = torch.zeros(20, 16, 16, 3, dtype=torch.uint8)
    for stage in (stages[0], stages[1], stages[2], stages[0]):
        run.loop.start_stage(stage)
        programs.append(run.step._program(images, 0, 0))
    assert programs[0] == programs[1] == programs[3] != programs[2], "the first two train the same in the same way"
    run.step.load_optimizer(run.step.optimizer.state_dict())
    assert run.step._program(images, 0, 0) not in programs


def test_stages_that_train_the_same_and_repeats_use_the_recordings_again(built, monkeypatch):
    made = []
    put_back = recorded_graph.RecordedGraph.put_back
    monkeypatch.setattr(recorded_graph.RecordedGraph, "put_back",
                        lambda graph: (made.append(graph), put_back(graph)))
    run = built("graph", **STAGES)
    losses(run, 1)
    optimizer = run.step.optimizer
    assert len(made) == 2, "one for whole batches, one for the last"
    assert run.loop.stage.name == "again" and run.step.optimizer is optimizer
    assert all(not value.any() for state in optimizer.state.values() for value in state.values())
    losses(run, 2)
    assert len(made) == 2
    losses(run)
    assert len(made) == 4 and run.step.optimizer is not optimizer
    again = run.recipe.changed({"train.seed": 1})
    reset_to_seed(run, again)
    torch.manual_seed(5)
    once_more = losses(run)
    assert len(made) == 4
    alone = built("graph", **STAGES, **{"train.seed": 1})
    torch.manual_seed(5)
    assert torch.equal(losses(alone), once_more), "a repeat has the bits of a run of its seed"
    assert_same(run, alone)


def test_a_run_continues_in_the_middle_of_an_epoch_with_the_same_bits(built, tmp_path):
    settings = MIX | {"average.ema": 0.9, "average.lookahead": 2}
    whole, resumed = built("graph", **settings), built("graph", **settings)
    expected, saved = [], {}

    def between(loop):
        expected.append(loop.step.tally.clone())
        if (loop.progress.epoch, loop.progress.step) == (1, 3):
            saved.update(torch.load(dump(state_of(whole, [])), weights_only=False))

    whole.loop.between_steps = between
    list(whole.loop.run())
    losses(resumed, 1)
    restore_state(resumed, saved, tmp_path)
    assert not resumed.step.graphs, "the loaded state is not what they were recorded with"
    got = []
    resumed.loop.between_steps = lambda loop: got.append(loop.step.tally.clone())
    list(resumed.loop.run())
    assert torch.equal(torch.stack(got), torch.stack(expected[9:]))
    assert_same(whole, resumed)


def dump(state):
    import io

    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


@pytest.mark.parametrize("modes", [("eager", "graph"), ("graph", "eager")])
def test_a_checkpoint_of_either_mode_continues_in_the_other(built, tmp_path, modes):
    before, after = (built(mode) for mode in modes)
    losses(before, 1)
    saved = torch.load(dump(state_of(before, [])), weights_only=False)
    groups = saved["optimizer"]["param_groups"]
    assert all(isinstance(group[key], float) for group in groups for key in ("lr", "momentum"))
    restore_state(after, saved, tmp_path)
    # Both draw dropout from the process's generator.
    with torch.random.fork_rng([]):
        got = losses(after)
    torch.testing.assert_close(got, losses(before), rtol=1e-4, atol=1e-4)
    assert_same(before, after)


def test_recording_leaves_no_trace(built, monkeypatch):
    run = built("graph", **{"average.ema": 0.9, "model.dropout": 0.3})
    monkeypatch.setattr(recorded_graph.RecordedGraph, "replay", lambda graph: None)
    before = {name: value.clone() for name, value in all_tensors(run).items()}
    torch.manual_seed(3)
    generator = torch.get_rng_state()
    with run.loop.open_epoch(0) as batches:
        batch = next(batches)
        run.loop.set_modes(run.loop.stage)
        run.step(batch.images_bhwc, batch.labels, 0, 0)
    assert torch.equal(torch.get_rng_state(), generator)
    after = all_tensors(run)
    for name, value in after.items():
        assert torch.equal(value, before[name]) if name in before else not value.any(), name
    assert not run.step.tally.any() and int(run.step.guard.first) == int(run.step.guard.copy) == -1
    assert all(p.grad is None for p in run.model.parameters())


def test_batches_that_are_passed_over_take_no_update(built):
    eager, whole = (built(mode, **{"model.dropout": 0.0}) for mode in ("eager", "graph"))
    for run in (eager, whole):
        run.loop.seek(Progress(left_out=[[0, 1], [0, 2], [1, 5]]))
    torch.testing.assert_close(losses(whole), losses(eager), rtol=1e-4, atol=1e-4)
    assert whole.step.updates_done == eager.step.updates_done == 15
    assert_same(whole, eager)


@pytest.mark.parametrize("baked", [False, True])
def test_the_guard_tells_the_step_that_was_bad(built, monkeypatch, baked):
    run, mark = built("graph"), NanGuard.mark

    def poisoned(self, counts, step):
        """The loss of batch 4 of the second epoch is not finite, as the device learns from its number."""
        bad = (step == 4) & (run.step.row[1] < 0.05)
        mark(self, torch.where(bad, counts * float("nan"), counts), run.step.updates if baked else step)

    monkeypatch.setattr(NanGuard, "mark", poisoned)
    with pytest.raises(NotFinite) as caught:
        losses(run)
    assert (caught.value.step == 4) != baked


class Plain(dict):
    """Recordings that are found whatever is due."""

    def __contains__(self, key):
        return super().__contains__((*key[:5], *key[6:]))

    def __getitem__(self, key):
        return super().__getitem__((*key[:5], *key[6:]))

    def __setitem__(self, key, value):
        super().__setitem__((*key[:5], *key[6:]), value)


def bake_rate(run, patch):
    step = DeviceRates.step
    patch(DeviceRates, "step", lambda self, numbers: step(self, torch.stack(
        [torch.full_like(numbers[0], run.step.rate), numbers[1]])))


def bake_momentum(run, patch):
    step = DeviceRates.step
    patch(DeviceRates, "step", lambda self, numbers: step(self, torch.stack(
        [numbers[0], torch.full_like(numbers[1], run.step.schedule.at(run.step.updates)[1])])))


def bake_mix(run, patch):
    loss, numbers = run.step.loss, run.step._numbers
    held = []
    patch(run.step, "_numbers", lambda *arguments: held.append(numbers(*arguments)) or held[-1])
    patch(run.step, "loss", lambda images, labels, size_px, mix: loss(images, labels, size_px, torch.tensor(
        held[0][-MIX_NUMBERS:])))


def forget_what_is_due(run, patch):
    run.step.graphs = Plain()


def bake_keys(run, patch):
    make = run.feeds.train.policy.forward
    patch(run.feeds.train.policy, "forward", lambda source, indices, keys: make(source, indices, torch.stack(
        [torch.full_like(key, number) for key, number in zip(keys, KEYS, strict=True)])))


KEYS = (1, 2, 3)


@pytest.mark.parametrize("fault", [bake_rate, bake_momentum, bake_mix, forget_what_is_due, bake_keys])
def test_a_number_that_a_recording_took_from_the_host_shows(built, monkeypatch, fault):
    settings = MIX | {"average.ema": 0.9, "average.ema_every": 2, "model.dropout": 0.0}
    eager, whole = built("eager", **settings), built("graph", **settings)
    fault(whole, monkeypatch.setattr)
    expected, got = losses(eager), losses(whole)
    same = torch.allclose(got, expected, rtol=1e-4, atol=1e-4)
    try:
        assert_same(whole, eager)
    except AssertionError:
        same = False
    assert not same


class Outside(torch.utils._python_dispatch.TorchDispatchMode):
    """The operations of a step that are not in its recording, views left out."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        results = function(*arguments, **(options or {}))
        if not (function.is_view or function._schema.name == "aten::detach"):
            self.seen.append(function._schema.name)
        return results


@pytest.mark.parametrize("feed", ["resident", pytest.param("stream", marks=pytest.mark.slow("imports FFCV"))])
@pytest.mark.parametrize("way", ["averages", "mixed, resized and clipped", "muon beside sgd"])
def test_a_step_is_one_launch_and_three_copies(built, monkeypatch, way, feed):
    run, outside, steps = built("graph", **WAYS[way], **{"data.feed": feed}), [], []
    replay = recorded_graph.RecordedGraph.replay

    def unseen(graph):
        with torch.utils._python_dispatch._disable_current_modes():
            replay(graph)
        steps.append(graph)

    monkeypatch.setattr(recorded_graph.RecordedGraph, "replay", unseen)
    # On a GPU it reads the host's own copy.
    monkeypatch.setattr(NanGuard, "known", lambda guard, wait=False: -1)
    losses(run, 2)
    run.loop.set_modes(run.loop.stage)
    run.step.reset_counts()
    run.step.prepare(2)
    steps.clear()
    with run.loop.open_epoch(2) as batches:
        for number, batch in enumerate(batches):
            with Outside() as seen:
                run.step(batch.images_bhwc, batch.labels, 2, number)
            outside.append(seen.seen)
    assert len(steps) == len(outside) == len(run.feeds.train)
    # The keys of the epoch are copied once.
    first, *others = outside
    assert first in (["aten::copy_"] * 3, ["aten::copy_"] * 4)
    assert all(each == ["aten::copy_"] * 3 for each in others)
