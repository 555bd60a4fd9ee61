"""The steps of a recipe: their kinds, and what one executes."""

import pytest

from benchmarks.modelling.steps import Phase, phases_of, shares_of_mixes, trace_step, training_images
from engine.common.errors import EngineError
from recipes.settings.load import load

TINY = {"model.width": 4, "model.depth": 2, "train.batch": 8}


def tiny(**settings):
    return load("quickstart", settings=TINY | settings)


def test_the_phases_of_a_run():
    """45,000 images in batches of 1,000, of which each two share an update: 45 batches, 23 updates an epoch."""
    assert phases_of(load("cnn", settings={"train.batch": 1000, "train.accumulate": 2, "train.epochs": 2}), 45_000) == {
        Phase(0, None, frozenset()): 90}
    # 25 steps an epoch; the stem's bias ends after three of the eight epochs.
    assert phases_of(load("sprint10"), 50_000) == {
        Phase(0, None, frozenset()): 75, Phase(0, None, frozenset({"stem.bias"})): 125}
    # 8.75 epochs of 49 steps are 429; sizes change after 15 % and half of them.
    sizes = {phase.size_px: steps for phase, steps in phases_of(load("sprint100"), 50_000).items()}
    assert list(sizes) == [20, 24, 32] and sum(sizes.values()) == 429
    assert sizes == {20: 65, 24: 150, 32: 214}
    # Ten, fifteen and 75 epochs of 1,407 batches of 32.
    stages = phases_of(load("resnet50"), 45_000)
    assert {phase.stage: steps for phase, steps in stages.items()} == {0: 14_070, 1: 21_105, 2: 105_525}


def test_the_images_of_an_epoch(tmp_path):
    assert (training_images(load("sprint10")), training_images(load("cnn"))) == (50_000, 45_000)
    with pytest.raises(EngineError, match="data.name=folder: the model needs a data set of known size"):
        training_images(load("baseline", settings={"data.name": "folder", "data.root": str(tmp_path)}))


@pytest.mark.parametrize("compiled", [True, False])
def test_a_step_holds_its_passes_its_update_and_its_averages(compiled):
    recipe = tiny(**{"average.ema": 0.9, "average.ema_every": 4, "train.accumulate": 2, "train.precision": "bf16"})
    passes, update, average = trace_step(recipe, Phase(0, None, frozenset()), compiled=compiled)
    assert (passes.share, update.share, average.share) == (1, 1 / 2, 1 / 8)
    names = [each.name for each in passes.operations]
    assert names.count("convolution") == names.count("convolution_backward") == 2
    assert [each.kind for each in update.operations].count("update") == 1
    weights = next(each for each in update.operations if each.kind == "update")
    assert set(weights.reads) & passes.read_later
    assert all(each.part == "passes" for each in passes.operations)
    assert average.operations


def test_batches_are_mixed_as_often_as_the_recipe_says_or_by_numbers():
    recipe = tiny(**{"mix.p": 0.5, "mix.kind": "both", "mix.switch_p": 0.4})
    shares = {mix.kind if mix else "": share for share, mix in shares_of_mixes(recipe, 32)}
    assert shares["cutmix"] == pytest.approx(0.2, abs=0.05) and shares["mixup"] == pytest.approx(0.3, abs=0.05)
    phase = Phase(0, None, frozenset())
    eager = trace_step(recipe, phase, compiled=False)
    assert len(eager) == 6 and sum(piece.share for piece in eager) == pytest.approx(2)
    assert [piece.share for piece in trace_step(recipe, phase, compiled=True)] == [1, 1]


def test_smaller_images_are_less_work():
    at_32, at_16 = (sum(each.flops for piece in trace_step(tiny(), Phase(0, px, frozenset()), compiled=True)
                        for each in piece.operations if "convolution" in each.kind) for px in (None, 16))
    assert at_32 == 4 * at_16


def test_a_part_that_ended_gets_no_gradient():
    recipe = load("sprint10", settings={"train.batch": 4, "model.widths": "24,24,24"})
    whole, ended = (trace_step(recipe, Phase(0, None, ends), compiled=True)[0].operations
                    for ends in (frozenset(), frozenset({"stem.bias"})))
    assert len(ended) < len(whole)
    assert sum(each.bytes for each in ended) < sum(each.bytes for each in whole)
