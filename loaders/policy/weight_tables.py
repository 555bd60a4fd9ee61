"""Tables of integers, computed when a policy is read, so that executors need no exp or log."""

import math

WEIGHT_BITS = 14
SIGMA_STEPS = 64
RATIO_STEPS = 256


def gaussian(kernel_px: int, sigma_low: float, sigma_high: float) -> tuple[tuple[int, ...], ...]:
    """SIGMA_STEPS rows of kernel_px weights that sum to 2**14; row k is for sigma_of(k, ...)."""
    half, sigmas = kernel_px // 2, [sigma_of(k, sigma_low, sigma_high) for k in range(SIGMA_STEPS)]
    return tuple(_to_sum([math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-half, half + 1)], half)
                 for sigma in sigmas)


def sigma_of(k: int, sigma_low: float, sigma_high: float) -> float:
    """The sigma of step k of SIGMA_STEPS: the middle of the k-th equal part of the interval."""
    return sigma_low + (sigma_high - sigma_low) * (k + 0.5) / SIGMA_STEPS


def log_uniform_ratios(low: float, high: float) -> tuple[tuple[int, int], ...]:
    """RATIO_STEPS pairs (ratio, 1 / ratio) in 2**-16 units, at the middles of equal parts of [log low, log high]."""
    span = math.log(high) - math.log(low)
    ratios = [math.exp(math.log(low) + span * (k + 0.5) / RATIO_STEPS) for k in range(RATIO_STEPS)]
    return tuple((round(ratio * 65536), round(65536 / ratio)) for ratio in ratios)


def antialiased(size: int, out_size: int) -> tuple[tuple[int, ...], ...]:
    """out_size rows (first source index, weights... of sum 2**14): Pillow's and torch's antialiased bilinear filter."""
    scale = size / out_size
    support = max(scale, 1.0)
    taps = min(size, 2 * math.ceil(support) + 1)
    rows = []
    for i in range(out_size):
        centre = (i + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), size)
        start = min(first, size - taps)
        weights = [
            max(0.0, 1.0 - abs((j - centre + 0.5) / support)) if first <= j < last else 0.0
            for j in range(start, start + taps)
        ]
        rows.append((start, *_to_sum(weights, max(range(taps), key=weights.__getitem__))))
    return tuple(rows)


def _to_sum(weights: list[float], largest: int) -> tuple[int, ...]:
    """Weights as integers that sum to 2**14 exactly; the largest absorbs the rounding error."""
    total = sum(weights)
    rounded = [round(weight / total * (1 << WEIGHT_BITS)) for weight in weights]
    rounded[largest] += (1 << WEIGHT_BITS) - sum(rounded)
    return tuple(rounded)
