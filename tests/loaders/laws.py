"""Whether measured numbers follow a law, at thresholds that a right law fails about once in 10,000."""

import numpy as np


def check_uniform(values, low: float, high: float, slack: float = 0.0) -> None:
    """Real numbers, uniform between low and high; slack: the error of one measurement."""
    values = np.sort(np.asarray(values, float))
    assert low - slack <= values[0] and values[-1] <= high + slack, (values[0], values[-1])
    shares = np.clip((values - low) / (high - low), 0, 1)
    steps = np.arange(1, len(values) + 1) / len(values)
    distance = max((steps - shares).max(), (shares - steps + 1 / len(values)).max())
    assert distance < 2.23 / len(values) ** 0.5 + slack / (high - low), distance


def check_equally_likely(values, choices) -> None:
    """Each of the choices occurs, nothing else does, all about as often."""
    values, choices = list(values), list(choices)
    assert set(values) <= set(choices), set(values) - set(choices)
    mean = len(values) / len(choices)
    chi_square = sum((values.count(choice) - mean) ** 2 / mean for choice in choices)
    freedom = len(choices) - 1
    assert chi_square < freedom + 4 * (2 * freedom) ** 0.5 + 4, chi_square


def check_probability(happened, p: float) -> None:
    """A share of true values within four standard deviations of p."""
    happened = np.asarray(happened, bool)
    assert abs(happened.mean() - p) <= 4 * (p * (1 - p) / len(happened)) ** 0.5, happened.mean()


def check_unrelated(*series) -> None:
    """No two series go together: their correlations are those of independent draws."""
    related = np.corrcoef(np.array(series, float)) - np.eye(len(series))
    assert np.abs(related).max() < 4.5 / len(series[0]) ** 0.5, related
