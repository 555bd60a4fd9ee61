"""Ten outlines as signed distances and ten surface patterns, on arrays of points.

u, v: float32 coordinates (arrays of one shape) in the figure's frame, where it roughly fills the unit disc. Distances
have the same unit and are negative inside. Near corners some are only a lower bound, which is enough to draw an edge.
"""

from collections.abc import Callable

import numpy as np

Points = np.ndarray
_TURN = 2 * np.pi
_WAVE = np.float32(_TURN / 0.7)


def _box(u: Points, v: Points, half_width: float, half_height: float) -> Points:
    return np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)


def _half_planes(u: Points, v: Points, count: int, distance: float) -> list[Points]:
    """Distances to `count` lines at equal angles around the origin; the first lies towards +v."""
    angles = [np.pi / 2 + _TURN * side / count for side in range(count)]
    return [np.float32(np.cos(a)) * u + np.float32(np.sin(a)) * v - np.float32(distance) for a in angles]


def _waves(points: Points) -> Points:
    return np.sin(_WAVE * points) / _WAVE


OUTLINES: dict[str, Callable[[Points, Points], Points]] = {
    "disc": lambda u, v: np.hypot(u, v) - 0.82,
    "square": lambda u, v: _box(u, v, 0.72, 0.72),
    "triangle": lambda u, v: np.maximum.reduce(_half_planes(u, v, 3, 0.52)),
    "plus": lambda u, v: np.minimum(_box(u, v, 0.95, 0.32), _box(u, v, 0.32, 0.95)),
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.68) - 0.25,
    # A pentagram: the points beyond at most one of five lines, so its edge is the second largest distance.
    "star": lambda u, v: np.sort(_half_planes(u, v, 5, 0.4), axis=0)[-2],
    "half-disc": lambda u, v: np.maximum(np.hypot(u, v + 0.4) - 1.0, -(v + 0.4)),
    "bar": lambda u, v: _box(u, v, 1.0, 0.34),
    "crescent": lambda u, v: np.maximum(np.hypot(u, v) - 0.95, 0.7 - np.hypot(u - 0.5, v)),
    "tee": lambda u, v: np.minimum(_box(u, v + 0.6, 0.85, 0.3), _box(u, v - 0.2, 0.3, 0.75)),
}

# A pattern shows the second colour where it is above 0, with a slope of about 1 per unit of length. Each takes u, v,
# the outline's signed distance, and white noise in -0.5..0.5.
PATTERNS: dict[str, Callable[[Points, Points, Points, Points], Points]] = {
    "plain": lambda u, v, distance, noise: np.full_like(u, -1.0),
    "striped": lambda u, v, distance, noise: _waves(u),
    "checked": lambda u, v, distance, noise: _WAVE * _waves(u) * _waves(v),
    "dotted": lambda u, v, distance, noise: (np.cos(_WAVE * u) + np.cos(_WAVE * v) - 0.7) / _WAVE,
    "ringed": lambda u, v, distance, noise: _waves(np.hypot(u, v)),
    "shaded": lambda u, v, distance, noise: u * 0.12,
    "edged": lambda u, v, distance, noise: distance + 0.17,
    "halved": lambda u, v, distance, noise: u,
    "quartered": lambda u, v, distance, noise: u * v * 4,
    "speckled": lambda u, v, distance, noise: noise,
}
