"""Rates of reference kernels, and times of work that follow from them."""

import math

import pytest
import torch

from benchmarks.modelling import kernels
from benchmarks.modelling.cpu_rates import CpuRates, Kernels, cpu_work, keys_for, rate_at
from benchmarks.modelling.fusing import Work
from benchmarks.modelling.predict import RecipeWork
from benchmarks.modelling.steps import Phase
from benchmarks.modelling.trace import traced
from recipes.settings.load import load

BF16, FP32 = torch.bfloat16, torch.float32


@pytest.fixture
def small_kernels(monkeypatch):
    """Two small tensors for each kind, three that take turns."""
    monkeypatch.setattr(kernels, "TENSOR_BYTES", (1 << 16, 1 << 17))
    monkeypatch.setattr(kernels, "CONVOLUTIONS", {3: 4, 16: 4})
    monkeypatch.setattr(kernels, "TURN_BYTES", 1)
    kernels.tensors.cache_clear()
    yield
    kernels.tensors.cache_clear()


def test_rates_between_two_sizes_follow_their_logarithms_and_end_with_the_last():
    table = [(10, 100.0), (1000, 400.0)]
    assert [rate_at(table, size) for size in (1, 10, 1000, 10**9)] == pytest.approx([100, 100, 400, 400])
    assert rate_at(table, 100) == pytest.approx(200) and rate_at(table[:1], 5) == 100.0
    assert rate_at(table, 10 * math.sqrt(10)) == pytest.approx(100 * math.sqrt(2))


def test_a_work_takes_its_flops_or_its_bytes_whichever_is_longer_and_its_calls():
    rates = CpuRates({("convolution", BF16): [(3, 100.0), (64, 1000.0)], ("pointwise", BF16): [(1, 50.0)],
                      ("norm", FP32): [(1, 10.0)]}, call_s=0.25, feed_s=7.0)

    def seconds(kind, dtype, flops, moved, narrow=0):
        return pytest.approx(rates.seconds(Work(kind, "passes", dtype, flops, moved, 2, narrow)))

    assert seconds("convolution", BF16, 2000, 50, 64) == {"matrix": 2.0, "launches": 0.5}
    assert seconds("convolution", BF16, 2000, 50, 3) == {"matrix": 20.0, "launches": 0.5}
    assert seconds("convolution", BF16, 2000, 500, 64) == {"memory": 10.0, "launches": 0.5}
    assert seconds("norm", FP32, 0, 30) == {"memory": 3.0, "launches": 0.5}
    assert seconds("norm", torch.int64, 0, 30) == {"memory": 3.0, "launches": 0.5}
    assert seconds("feed", torch.uint8, 0, 0) == {"feed": 7.0}


def test_kernels_are_asked_for_by_kind_and_precision():
    works = [(1.0, Work(kind, "passes", dtype, 0, 1)) for kind, dtype in
             (("norm", BF16), ("norm", BF16), ("copy", torch.int64), ("feed", torch.uint8))]
    assert set(keys_for([RecipeWork(1, 1, [(1, works)])])) == {("norm", BF16), ("pointwise", BF16), ("copy", FP32),
                                                              ("pointwise", FP32)}


def test_a_reference_counts_what_its_call_moves_or_computes(small_kernels):
    (first, _), tensor = kernels.references("pointwise", FP32), 1 << 16
    assert (first.size, first.amount, len(first.calls)) == (3 * tensor, 3 * tensor, 3)
    thin, wide = kernels.references("convolution", BF16)
    # 64 images of 4 x 4 px: 3 channels become 64, and 16 stay 16.
    assert (thin.size, thin.amount) == (3, 2 * 64 * 16 * 27 * 64)
    assert (wide.size, wide.amount) == (16, 2 * 64 * 16 * 144 * 16)
    thin, wide = kernels.references("convolution backward", BF16)
    assert (thin.amount, wide.amount) == (2 * 64 * 16 * 27 * 64, 2 * 2 * 64 * 16 * 144 * 16)


def test_kernels_of_equal_size_take_turns_over_enough_bytes():
    turns = kernels.tensors((1, 1 << 20), FP32)
    assert len(turns) == kernels.TURN_BYTES // (4 << 20) and len({each.data_ptr() for each in turns}) == len(turns)
    kernels.tensors.cache_clear()


@pytest.mark.parametrize("kind", [*kernels.MOVES, "pointwise", "convolution", "convolution backward", "product"])
def test_every_kind_has_a_kernel_of_this_kind(kind, small_kernels):
    for reference in kernels.references(kind, FP32):
        assert {each.kind for each in traced(reference.calls[0])} == {kind} and reference.rate(0) > 0


def test_all_that_a_step_needs_is_measured(small_kernels):
    recipe = load("quickstart", settings={"model.width": 4, "model.depth": 2, "train.batch": 8, "mix.p": 0.5,
                                          "mix.kind": "both"})
    work = cpu_work(recipe, Phase(0, None, frozenset()), "bf16")
    rates = Kernels(keys_for([work])).measure(0)
    times = work.on(rates)
    assert 0 < rates.call_s < 1 and times.part_s("matrix") > 0 and times.part_s("rest") > 0
    assert times.part_s("update") > 0 and times.part_s("launches") > 0 and times.part_s("feed") == 0
