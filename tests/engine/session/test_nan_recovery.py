"""A run that rolls back while its whole step is one graph, which a stand-in on the CPU records and repeats."""

import pytest
import torch

from engine.session import launch
from engine.storage import checkpoint
from engine.training import executors
from engine.training.whole_step import WholeStep
from tests.engine.poison import poisoned
from tests.engine.training import recorded_graph

pytestmark = pytest.mark.slow("trains runs of a second")


@pytest.mark.parametrize("every_minutes", [10, 1e-9])
def test_a_recorded_step_rolls_back_to_the_eager_steps_weights(recipe, tmp_path, monkeypatch, every_minutes):
    recorded_graph.use(monkeypatch)
    monkeypatch.setattr(executors, "resolve", lambda mode, *_: mode)
    made, record, saved = [], WholeStep._record, {}
    monkeypatch.setattr(WholeStep, "_record", lambda step, *given: made.append(step.pool) or record(step, *given))
    for mode in ("eager", "graph"):
        call, tried = poisoned(1, 2)
        with monkeypatch.context() as patch:
            patch.setattr("engine.training.step.TrainStep.__call__", call)
            assert launch.start(recipe(tmp_path / mode, **{
                "train.step": mode, "train.norms": "torch", "train.on_nan": "rollback", "data.feed": "resident",
                "data.validation": 0, "checkpoint.every_minutes": every_minutes})) == 0
        assert tried == [2]
        saved[mode] = checkpoint.load(tmp_path / mode / "checkpoints/last.pt")
        assert saved[mode]["progress"]["left_out"] == [[1, 2]] and saved[mode]["updates_done"] == 11
        assert bool(made) == (mode == "graph")
    assert len(made) == 2 and made[0] is not made[1], "the loaded state is recorded with anew, in memory of its own"
    for name, weight in saved["eager"]["model"].items():
        torch.testing.assert_close(saved["graph"]["model"][name], weight, rtol=1e-3, atol=2e-5, msg=name)
