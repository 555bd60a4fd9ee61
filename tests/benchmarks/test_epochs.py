"""The epochs benchmark at toy size: every way of training has its row, its figures fit together, mistakes are refused.

torch.compile is replaced by a function that compiles nothing, so that no compiler is needed.
"""

import json
from contextlib import closing
from functools import partial

import psutil
import pytest
import torch

from benchmarks import epochs
from benchmarks.common.step_check import Deviation
from benchmarks.epochs import ENDLESS_EPOCHS, for_timing, label_of
from benchmarks.throughput import contenders, peer_loops, unit_timing
from benchmarks.throughput.contenders import step_alone, whole_run
from benchmarks.throughput.epoch_rows import KEYS
from benchmarks.throughput.plain_step import setup_of
from engine.build.run import build
from engine.common.errors import EngineError
from engine.diagnostics import peaks
from recipes.settings.load import RecipeError, load

TINY = ["--recipes", "quickstart", "--data.train_count=300", "--data.test_count=100", "--data.resolution=16",
        "--train.batch=20", "--model.width=8", "--model.depth=3", "--augment.policy=crop(pad_px=2), noise(sigma=.1)",
        "--seconds=0.005", "--repeats=1", "--check-steps=3", "--data.validation=0", "--train.threads=1"]
LABEL = ("quickstart augment.policy=crop(pad_px=2), noise(sigma=.1) data.resolution=16 data.test_count=100 "
         "data.train_count=300 data.validation=0.0 model.depth=3 model.width=8 train.batch=20 train.threads=1")


@pytest.fixture(autouse=True)
def toy_size(monkeypatch):
    """Nothing is compiled, matrices are small, and one round is enough."""
    tunes = torch.backends.cudnn.benchmark
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setitem(peaks.MATRIX_SIDE, "cpu", 256)
    monkeypatch.setattr(unit_timing, "REPEATS", 2)
    # One thread each: on a busy machine several would wait for each other.
    for module in (contenders, peer_loops):
        monkeypatch.setattr(module, "usable_cores", lambda: 1)
    yield
    torch.backends.cudnn.benchmark = tunes


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return f"--data.cache={tmp_path_factory.mktemp('cache')}"


def rows_in(file):
    return {row["name"].removeprefix(f"{LABEL}, "): row for row in json.loads(file.read_text())}


@pytest.mark.slow("trains for each way of training")
def test_every_way_has_its_row_and_the_figures_fit_together(cache, tmp_path, capsys):
    file, children = tmp_path / "rows.json", set(psutil.Process().children())
    assert epochs.main([*TINY, cache, "--modes=eager,compile,graph", "--json", str(file)]) == 0
    rows = rows_in(file)
    ways = [f"{feed}, {mode}" for feed in ("stream", "resident") for mode in ("eager", "compile")]
    peers = ["peer a: author's style", "peer b: tuned", "peer b: tuned, compiled", "peer c: FFCV's operations"]
    alone = ["step alone, eager", "step alone, compile"]
    assert list(rows) == [*ways, *alone, *peers, "matrix product", "step graph"]
    for row in rows.values():
        assert set(KEYS) < set(row) and row["environment"]["commit"] and row["label"] == LABEL
        assert row["command"].startswith("python -m benchmarks.epochs --recipes quickstart") and "cache" not in row[
            "command"]
    peak = rows["matrix product"]["peak_tflops"]["median"]
    for way in (*ways, *alone, *peers):
        rate = rows[way]["images_per_second"]
        assert 0 < rate["min"] == rate["median"] == rate["max"] and rate["n"] == 1
        assert rows[way]["epochs_per_second"]["median"] == pytest.approx(rate["median"] / 300, rel=1e-3, abs=1e-5)
        share = rows[way]["model_tflops"]["median"] / peak
        assert rows[way]["share_of_peak"]["median"] == pytest.approx(share, rel=0.05, abs=5e-3)
        assert rows[way]["threads"] >= 1 and rows[way]["batch"] == 20 and rows[way]["timed"]
    rate_of = {way: rows[way]["images_per_second"]["median"] for way in (*ways, *alone, *peers)}
    for way in ways:
        row, mode = rows[way], way.split(", ")[1]
        tuned = max(rate_of["peer b: tuned"], rate_of["peer b: tuned, compiled"])
        for kind, theirs in (("a", rate_of[peers[0]]), ("b", tuned), ("c", rate_of[peers[3]])):
            assert row[f"ratio_{kind}"]["median"] == pytest.approx(rate_of[way] / theirs, rel=1e-2, abs=1e-3)
        cost = 1 - rate_of[way] / rate_of[f"step alone, {mode}"]
        assert row["data_cost"]["median"] == pytest.approx(cost, rel=1e-2, abs=1e-3)
        assert (row["feed"], row["step"]) == tuple(way.split(", "))
        assert row["first_step_s"] > 0 and row["memory_peak_mib"] > 0
        assert (row["self_check"] is None) == (mode == "eager")
    assert rows["stream, compile"]["self_check"]["steps"] == 3
    assert rows[peers[1]]["left_out"] == "noise(sigma=0.1)" and rows[peers[1]]["workers"] >= 1
    assert "needs a GPU" in rows["step graph"]["failed"] and rows["step graph"]["images_per_second"] is None
    assert file.with_suffix(".png").stat().st_size > 1000
    assert set(psutil.Process().children()) <= children, "no worker stays behind"
    said = capsys.readouterr().out
    assert "Cadence, resident, compile" in said and "step graph is not timed: train.step=graph needs a GPU" in said


@pytest.mark.slow("trains in two ways")
def test_steps_after_the_end_of_a_part_have_a_row_of_their_own(cache, tmp_path, monkeypatch):
    runs, plain = [], build

    def kept(recipe):
        runs.append(plain(recipe))
        return runs[-1]

    monkeypatch.setattr(contenders, "build", kept)
    file = tmp_path / "rows.json"
    epochs.main([*TINY, cache, "--modes=eager", "--feeds=resident", "--peers=none", "--json", str(file),
                 "--schedule.lrs=features.0.*:0.02,*:0.02", "--schedule.ends=features.0.*:37.5%"])
    rows = {row["way"]: row for row in json.loads(file.read_text())}
    assert list(rows) == ["resident, eager", "resident, eager, after features.0.* ended", "step alone, eager",
                          "matrix product"]
    whole, ended = list(rows.values())[:2]
    assert (whole["kind"], ended["kind"]) == ("ours", "ended") and ended["images_per_second"]["median"] > 0
    trained = [{name for name, p in run.model.named_parameters() if p.requires_grad} for run in runs]
    assert trained[1] - trained[2] == {name for name in trained[1] if name.startswith("features.0.")} != set()


def test_a_mode_that_computes_something_else_has_no_figures(cache, tmp_path, monkeypatch):
    def differs(recipe, mode, steps):
        raise EngineError(f"train.step={mode} does not compute what eager does")

    monkeypatch.setattr(epochs, "check_mode", differs)
    monkeypatch.setattr(epochs, "time_ways", lambda *_: pytest.fail("nothing is left to time"))
    file = tmp_path / "rows.json"
    epochs.main([*TINY, cache, "--modes=compile", "--json", str(file)])
    (row,) = json.loads(file.read_text())
    assert row["name"] == f"{LABEL}, step compile" and "does not compute" in row["failed"]
    assert not file.with_suffix(".png").exists()


@pytest.mark.slow("trains for each way of training")
def test_a_compiler_that_fails_leaves_the_compiled_peer_out(cache, tmp_path, monkeypatch):
    def broken(function, **_):
        raise torch._dynamo.exc.TorchDynamoException("no C++ compiler\nat all")

    monkeypatch.setattr(torch, "compile", broken)
    def stand_in(setup, kind):
        peer = peer_loops.tuned(setup, compiled=False)
        peer.kind = kind
        return peer

    for name, kind in (("author", "a"), ("stock", "c")):
        monkeypatch.setattr(peer_loops, name, partial(stand_in, kind=kind))
    file = tmp_path / "rows.json"
    epochs.main([*TINY, cache, "--modes=eager", "--feeds=stream", "--json", str(file)])
    rows = rows_in(file)
    assert rows["peer b: tuned, compiled"]["failed"] == "no C++ compiler"
    ratio = rows["stream, eager"]["images_per_second"]["median"] / rows["peer b: tuned"]["images_per_second"]["median"]
    assert rows["stream, eager"]["ratio_b"]["median"] == pytest.approx(ratio, rel=1e-2, abs=1e-3)


def test_rows_of_other_recipes_stay_and_one_of_the_same_name_is_replaced(tmp_path, monkeypatch):
    def timed(recipe, *_):
        return [contenders.failed_row(label_of(recipe), "step graph", "ours", "fails")]

    monkeypatch.setattr(epochs, "time_recipe", timed)
    file = tmp_path / "rows.json"
    for _ in range(2):
        epochs.main(["--recipes", "quickstart", "--json", str(file)])
    epochs.main(["--recipes", "quickstart", "--train.batch=7", "--json", str(file)])
    assert [row["label"] for row in json.loads(file.read_text())] == ["quickstart", "quickstart train.batch=7"]
    filled = {}
    monkeypatch.setattr(epochs, "fill", filled.__setitem__)
    assert epochs.main(["--render", "--json", str(file)]) == 0
    assert "`quickstart train.batch=7`" in filled["epochs"]


def test_a_recipe_is_timed_in_its_longest_stage_at_full_size_without_an_end():
    recipe = for_timing(load("resnet50"))
    (stage,) = recipe.section("train").stages
    assert (stage["name"], stage["epochs"], recipe.get("model.weights")) == ("all", ENDLESS_EPOCHS, "")
    recipe = for_timing(load("pocket10"))
    assert recipe.get("train.sizes") == {} and recipe.epochs == ENDLESS_EPOCHS
    assert for_timing(load("baseline")).epochs == ENDLESS_EPOCHS
    assert label_of(load("baseline", settings={"data.root": "/x", "train.batch": 64, "run.folder": "y"})) == (
        "baseline train.batch=64")


@pytest.mark.slow("trains some steps")
def test_the_peers_start_from_the_runs_own_weights(cache):
    words = [word for word in TINY[2:] if "." in word.partition("=")[0]]
    settings = dict(word[2:].split("=", 1) for word in [*words, cache])
    recipe = for_timing(load("quickstart", settings=settings))
    with closing(build(recipe.changed({"train.step": "eager", "data.feed": "stream"}))) as run:
        setup = setup_of(run)
        own = whole_run(run, "eager", Deviation("eager", "fp32", 1, 0.0, 0.0, 1.0))
        own.prepare(0.01)
        alone = step_alone(run, "eager")
        weights, trained = setup.model.parameters(), run.model.parameters()
        assert not any(torch.equal(a, b) for a, b in zip(weights, trained, strict=True)), "ours has trained meanwhile"
        assert len(setup.labels) == own.images == 300
        assert own.ahead == 5 and alone.ahead == 0 and alone.images is None
        assert own.facts["self_check"]["allowed"] == 1.0
        own.close()


@pytest.mark.parametrize(("asked", "message"), [
    ([], "--recipes is missing"),
    (["--recipes", "quickstart", "--modes=eagr"], "--modes=eagr must be one or more of eager,compile,graph"),
    (["--recipes", "quickstart", "--feeds=,"], "--feeds=, must be one or more of stream,resident"),
    (["--recipes", "quickstart", "--seconds=0"], "--seconds, --repeats and --check-steps must be above 0"),
    (["--recipes", "quickstart", "--data.feed=stream"], "--data.feed has no effect here: choose with --feeds"),
    (["--recipes", "quickstart", "--train.step=compile"], "--train.step has no effect here: choose with --modes"),
    (["--recipes", "cnn4", "--data.root=nowhere"], "nowhere is not a folder"),
])
def test_mistakes_are_refused_in_one_line_before_any_work(asked, message, monkeypatch):
    monkeypatch.setattr(epochs, "time_recipe", lambda *_: pytest.fail("work"))
    with pytest.raises(EngineError) as error:
        epochs.main(asked)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_recipe_is_refused():
    with pytest.raises(RecipeError, match="did you mean quickstart"):
        epochs.main(["--recipes", "quickstar"])
