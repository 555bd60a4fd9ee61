"""From work and rates to the times of a step, an epoch and a run."""

import pytest
import torch

from benchmarks.modelling.fusing import Work
from benchmarks.modelling.predict import Prediction, RecipeWork, gpu_work, predicted
from engine.build.model import build_model
from engine.build.preflight import dataset_info_of
from engine.models.flops import flops_per_image
from recipes.settings.load import load

TINY = {"model.width": 4, "model.depth": 2, "train.batch": 8}


class Plain:
    """1,000 FLOP/s, 100 bytes/s, half a second a kernel and four a step."""

    step_s = 4.0

    def seconds(self, work):
        bound = {"matrix": work.flops / 1000} if work.flops > 10 * work.bytes else {"memory": work.bytes / 100}
        return {**bound, "launches": work.kernels / 2}


def work(part, flops, moved):
    return Work("any", part, torch.float32, flops, moved, 1)


def test_the_times_of_a_run_with_two_phases():
    """30 steps: 10 of a matrix operation (2 s) and an update (1 s); 20 of a norm (3 s) and half an update."""
    times = RecipeWork(6, 60, [(10, [(1.0, work("passes", 2000, 1)), (1.0, work("update", 0, 100))]),
                               (20, [(1.0, work("passes", 0, 300)), (0.5, work("update", 0, 100))])]).on(Plain())
    # 10 of 30 steps launch two kernels, 20 launch one and a half: 4 s more a step.
    expected = {"feed": 0, "matrix": 2 / 3, "rest": 2, "update": 2 / 3, "launches": (10 * 1 + 20 * 0.75) / 30 + 4}
    assert {part: times.part_s(part) for part in times.parts} == pytest.approx(expected)
    step_s = sum(expected.values())
    assert times.step_s == pytest.approx(step_s) and times.run_s == pytest.approx(30 * step_s)
    assert times.images_per_second == pytest.approx(6 / step_s)
    assert times.epochs_per_second == pytest.approx(6 / step_s / 60)
    bounds = [times.bound_of(part) for part in ("feed", "matrix", "rest", "update", "launches")]
    assert bounds == ["", "matrix", "memory", "memory", "launches"] and times.bound_of() == "launches"


def test_the_longest_phase_alone():
    phases = [(3, [(1.0, work("passes", 0, 100))]), (5, [(1.0, work("passes", 0, 500))])]
    assert RecipeWork(2, 10, phases).longest() == RecipeWork(2, 10, phases[1:])


def test_a_recipes_matrix_work_is_three_times_its_forward_pass_without_the_images_gradient():
    recipe = load("quickstart", settings=TINY)
    ((_, works),) = gpu_work(recipe).phases
    model = build_model(recipe, dataset_info_of(recipe).classes)
    first = next(p for p in model.parameters() if p.dim() == 4)
    assert sum(work.flops for _, work in works if work.part == "passes") == 8 * (
        3 * flops_per_image(model, 32) - 2 * 32 * 32 * first.numel())


def test_what_is_expected_is_slower_than_the_peaks_and_each_part_has_a_time():
    recipe = load("quickstart", settings=TINY)
    expected, at_peak = predicted(recipe, "NVIDIA H100 80GB HBM3")
    assert isinstance(expected, Prediction) and expected.run_s > at_peak.run_s > 0
    assert all(expected.part_s(part) > 0 for part in expected.parts)
    assert at_peak.part_s("launches") == 0 and expected.bound_of("feed") == "memory"
    slower, _ = predicted(recipe, "NVIDIA A100-SXM4-80GB")
    assert slower.step_s > expected.step_s
