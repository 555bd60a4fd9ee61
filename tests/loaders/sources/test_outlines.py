import math

import numpy as np
import pytest

from loaders.sources.outlines import OUTLINES, PATTERNS

AXIS = np.linspace(-1.4, 1.4, 57, dtype=np.float32)
U, V = np.meshgrid(AXIS, AXIS)


def inside(name, u, v):
    """Plain membership, from each figure's definition."""
    r = math.hypot(u, v)
    if name in ("disc", "ring"):
        return r < 0.82 if name == "disc" else 0.43 < r < 0.93
    if name in ("square", "bar"):
        return abs(u) < (0.72 if name == "square" else 1.0) and abs(v) < (0.72 if name == "square" else 0.34)
    if name == "plus":
        return (abs(u) < 0.95 and abs(v) < 0.32) or (abs(u) < 0.32 and abs(v) < 0.95)
    if name == "half-disc":
        return math.hypot(u, v + 0.4) < 1 and v > -0.4
    if name == "crescent":
        return r < 0.95 and math.hypot(u - 0.5, v) > 0.7
    if name == "tee":
        return (abs(u) < 0.85 and -0.9 < v < -0.3) or (abs(u) < 0.3 and -0.55 < v < 0.95)
    count, distance = (3, 0.52) if name == "triangle" else (5, 0.4)
    angles = [math.pi / 2 + 2 * math.pi * k / count for k in range(count)]
    beyond = sum(u * math.cos(angle) + v * math.sin(angle) > distance for angle in angles)
    return beyond == 0 if name == "triangle" else beyond <= 1


@pytest.mark.parametrize("name", OUTLINES)
def test_distance_is_negative_exactly_inside(name):
    distance = OUTLINES[name](U, V)
    assert distance.shape == U.shape and distance.dtype == np.float32
    for u, v, d in zip(U.ravel().tolist(), V.ravel().tolist(), distance.ravel().tolist(), strict=True):
        if abs(d) > 1e-5:
            assert (d < 0) == inside(name, u, v), (u, v)


@pytest.mark.parametrize("name", OUTLINES)
def test_distance_changes_by_at_most_one_per_unit(name):
    distance = OUTLINES[name](U, V)
    for axis in (0, 1):
        assert np.abs(np.diff(distance, axis=axis)).max() <= (AXIS[1] - AXIS[0]) * 1.001


def test_figures_have_similar_areas_so_that_area_does_not_reveal_the_class():
    cell = float(AXIS[1] - AXIS[0]) ** 2
    areas = {name: float((outline(U, V) < 0).sum()) * cell for name, outline in OUTLINES.items()}
    assert max(areas.values()) < 3.2 * min(areas.values())
    assert all(np.abs(U[outline(U, V) < 0]).max() < 1.3 for outline in OUTLINES.values())


def test_all_patterns_but_the_plain_one_show_both_colours():
    speckle = np.random.default_rng(0).random(U.shape, np.float32) - 0.5
    disc = OUTLINES["disc"](U, V)
    for name, pattern in PATTERNS.items():
        second = (pattern(U, V, disc, speckle) > 0)[disc < 0].mean()
        assert second == 0 if name == "plain" else 0.15 < second < 0.7, (name, second)


def test_no_two_patterns_agree():
    speckle = np.random.default_rng(0).random(U.shape, np.float32) - 0.5
    disc = OUTLINES["disc"](U, V)
    masks = [(pattern(U, V, disc, speckle) > 0)[disc < 0] for name, pattern in PATTERNS.items() if name != "shaded"]
    for first in range(len(masks)):
        for other in range(first):
            assert 0.1 < (masks[first] != masks[other]).mean() < 0.9
