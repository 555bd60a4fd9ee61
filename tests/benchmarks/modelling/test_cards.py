"""The table of GPUs, and times that follow from it."""

import pytest
import torch

from benchmarks.modelling.cards import CARDS, PEAK, Assumed, CardRates, card_of
from benchmarks.modelling.fusing import Work

BF16, FP32 = torch.bfloat16, torch.float32


def work(flops, moved, dtype=BF16, kernels=1):
    return Work("product", "passes", dtype, flops, moved, kernels)


def test_the_data_sheets_rates():
    """As printed, with sparsity: 1,979 TFLOP/s (H100, H200) and 624 (A100) in bf16, 989 and 312 in TF32."""
    for key, sparse_bf16, sparse_tf32, terabytes in (("h200", 1979, 989, 4.8), ("h100", 1979, 989, 3.35),
                                                    ("a100", 624, 312, 2.039)):
        card = CARDS[key]
        assert card.bf16_flops_s == pytest.approx(sparse_bf16 * 1e12 / 2, rel=1e-3)
        assert card.tf32_flops_s == pytest.approx(sparse_tf32 * 1e12 / 2, rel=1e-3)
        assert card.bytes_s == pytest.approx(terabytes * 1e12) and card.fp32_flops_s < card.tf32_flops_s


def test_the_longer_of_matrix_and_memory_bounds_a_kernel():
    rates = CardRates(CARDS["a100"], PEAK)
    assert rates.seconds(work(312 * 10**9, 10**6)) == {"matrix": pytest.approx(1e-3), "launches": 0.0}
    assert rates.seconds(work(10**6, 2039 * 10**6)) == {"memory": pytest.approx(1e-3), "launches": 0.0}


def test_assumed_shares_and_gaps():
    rates = CardRates(CARDS["h100"], Assumed(0.5, 0.25, 2e-6, 7e-6))
    assert rates.seconds(work(9894 * 10**8, 1, kernels=3)) == {"matrix": pytest.approx(2e-3),
                                                             "launches": pytest.approx(6e-6)}
    assert rates.seconds(work(1, 3350 * 10**6))["memory"] == pytest.approx(4e-3)
    assert rates.step_s == 7e-6


@pytest.mark.parametrize(("dtype", "tf32", "rate"), [(BF16, False, 312e12), (torch.float16, True, 312e12),
                                                     (FP32, True, 156e12), (FP32, False, 19.5e12)])
def test_each_precision_has_its_rate(dtype, tf32, rate):
    assert CardRates(CARDS["a100"], PEAK, tf32).matrix_flops_s(dtype) == rate


@pytest.mark.parametrize(("name", "key"), [
    ("NVIDIA H200", "h200"), ("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA A100-SXM4-80GB", "a100"),
    ("NVIDIA A10", None), ("NVIDIA GeForce RTX 4090", None), ("AMD EPYC (AVX512)", None)])
def test_a_devices_name_leads_to_its_card(name, key):
    assert card_of(name) is CARDS.get(key)
