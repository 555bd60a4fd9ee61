"""What decides which epoch of a run is the best, and whether patience has run out: one criterion for both."""

import math
from dataclasses import dataclass

# Below so many classes the true one is always among the five likeliest.
LEAST_CLASSES_FOR_TOP5 = 6


@dataclass(frozen=True)
class Criterion:
    """name: a field of `metrics.Result`. words: for people. lower: whether lower values are better."""

    name: str
    words: str
    lower: bool = False

    def better(self, value: float, than: float, by: float = 0.0) -> bool:
        """Whether `value` is better than `than` (NaN: there is none yet) by more than `by`; never if not finite."""
        if not math.isfinite(value):
            return False
        return math.isnan(than) or (value < than - by if self.lower else value > than + by)

    def shown(self, value: float) -> str:
        """A value for people: the loss as a number, the others in percent."""
        return f"{value:.4f}" if self.name == "loss" else f"{value:.2%}"


def in_words(measure: str, value: float) -> str:
    """A criterion on a split and its value, "validation_loss" and 0.25, as "validation loss 0.2500"."""
    split, name = measure.split("_")
    return f"{split} {CRITERIA[name].words} {CRITERIA[name].shown(value)}"


# By the value of eval.best_by.
CRITERIA = {each.name: each for each in (Criterion("top1", "top-1"), Criterion("top5", "top-5"),
                                         Criterion("loss", "loss", lower=True),
                                         Criterion("ece", "calibration error", lower=True))}
