"""What is better, by each criterion, and how it is told."""

import math
from dataclasses import FrozenInstanceError, fields

import pytest
import torch

from engine.training.criterion import CRITERIA, LEAST_CLASSES_FOR_TOP5, in_words
from engine.training.metrics import Metrics, Result


@pytest.mark.parametrize(("name", "worse", "better"), [("top1", 0.5, 0.6), ("top5", 0.5, 0.6), ("loss", 1.2, 1.1),
                                                       ("ece", 0.2, 0.1)])
def test_higher_shares_and_lower_losses_and_errors_are_better(name, worse, better):
    judge = CRITERIA[name].better
    assert judge(better, worse) and not judge(worse, better) and not judge(better, better)
    assert judge(better, worse, 0.05) and not judge(better, worse, 0.15)
    assert judge(worse, math.nan), "there was none yet"
    for bad in (math.nan, math.inf, -math.inf):
        assert not judge(bad, worse) and not judge(bad, math.nan)


def test_each_is_a_field_of_an_evaluations_result_and_has_words():
    assert set(CRITERIA) <= {field.name for field in fields(Result)}
    assert [in_words(f"validation_{name}", 0.25) for name in CRITERIA] == [
        "validation top-1 25.00%", "validation top-5 25.00%", "validation loss 0.2500",
        "validation calibration error 25.00%"]
    with pytest.raises(FrozenInstanceError):
        CRITERIA["loss"].lower = False


def test_top5_tells_networks_apart_from_as_many_classes_on_as_its_limit_says():
    def worst(classes):
        metrics = Metrics(classes, "cpu")
        metrics.update(-torch.eye(classes), torch.arange(classes))
        return metrics.result().top5

    assert [worst(classes) for classes in range(2, LEAST_CLASSES_FOR_TOP5)] == [1.0] * (LEAST_CLASSES_FOR_TOP5 - 2)
    assert worst(LEAST_CLASSES_FOR_TOP5) == 0.0
