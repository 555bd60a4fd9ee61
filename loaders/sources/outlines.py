"""Ten outlines as signed distances and ten surface patterns, on arrays of points.

u, v: float32 coordinates of any one shape in the figure's own frame, where it fills about the unit disc. Distances are
in the same unit, negative inside; outside corners some are only a lower bound, which is enough to draw an edge.
"""

from collections.abc import Callable

import numpy as np

Points = np.ndarray
_TURN = 2 * np.pi


def _box(u: Points, v: Points, half_width: float, half_height: float) -> Points:
    return np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)


def _half_planes(u: Points, v: Points, count: int, distance: float) -> list[Points]:
    """Distances to `count` lines around the origin, evenly turned; the first one lies towards +v."""
    angles = [np.pi / 2 + _TURN * side / count for side in range(count)]
    return [np.float32(np.cos(a)) * u + np.float32(np.sin(a)) * v - np.float32(distance) for a in angles]


def _disc(u: Points, v: Points) -> Points:
    return np.hypot(u, v) - 0.82


def _square(u: Points, v: Points) -> Points:
    return _box(u, v, 0.72, 0.72)


def _triangle(u: Points, v: Points) -> Points:
    return np.maximum.reduce(_half_planes(u, v, 3, 0.52))


def _plus(u: Points, v: Points) -> Points:
    return np.minimum(_box(u, v, 0.95, 0.32), _box(u, v, 0.32, 0.95))


def _ring(u: Points, v: Points) -> Points:
    return np.abs(np.hypot(u, v) - 0.68) - 0.25


def _star(u: Points, v: Points) -> Points:
    """A pentagram: the points beyond at most one of five lines, so its edge is the second largest distance."""
    largest = second = None
    for distance in _half_planes(u, v, 5, 0.4):
        if largest is None:
            largest, second = distance, np.full_like(distance, -np.inf)
        else:
            second = np.maximum(second, np.minimum(largest, distance))
            largest = np.maximum(largest, distance)
    return second


def _half_disc(u: Points, v: Points) -> Points:
    return np.maximum(np.hypot(u, v + 0.4) - 1.0, -(v + 0.4))


def _bar(u: Points, v: Points) -> Points:
    return _box(u, v, 1.0, 0.34)


def _crescent(u: Points, v: Points) -> Points:
    return np.maximum(np.hypot(u, v) - 0.95, 0.7 - np.hypot(u - 0.5, v))


def _tee(u: Points, v: Points) -> Points:
    return np.minimum(_box(u, v + 0.6, 0.85, 0.3), _box(u, v - 0.2, 0.3, 0.75))


OUTLINES: dict[str, Callable[[Points, Points], Points]] = {
    "disc": _disc, "square": _square, "triangle": _triangle, "plus": _plus, "ring": _ring, "star": _star,
    "half-disc": _half_disc, "bar": _bar, "crescent": _crescent, "tee": _tee}

# A pattern says where the second colour shows: above 0, with a slope of about 1 a unit of length.
_WAVE = np.float32(_TURN / 0.7)


def _waves(points: Points) -> Points:
    return np.sin(_WAVE * points) / _WAVE


def _plain(u: Points, v: Points, distance: Points, speckle: Points) -> Points:
    return np.full_like(u, -1.0)


def _striped(u: Points, v: Points, distance: Points, speckle: Points) -> Points:
    return _waves(u)


def _checked(u: Points, v: Points, distance: Points, speckle: Points) -> Points:
    return _WAVE * _waves(u) * _waves(v)


def _dotted(u: Points, v: Points, distance: Points, speckle: Points) -> Points:
    return (np.cos(_WAVE * u) + np.cos(_WAVE * v) - 0.7) / _WAVE


def _ringed(u: Points, v: Points, distance: Points, speckle: Points) -> Points:
    return _waves(np.hypot(u, v))


def _shaded(u: Points, v: Points, distance: Points, speckle: Points) -> Points:
    return u * 0.12


def _edged(u: Points, v: Points, distance: Points, speckle: Points) -> Points:
    return distance + 0.17


def _halved(u: Points, v: Points, distance: Points, speckle: Points) -> Points:
    return u


def _quartered(u: Points, v: Points, distance: Points, speckle: Points) -> Points:
    return u * v * 4


def _speckled(u: Points, v: Points, distance: Points, speckle: Points) -> Points:
    return speckle


# Each takes u, v, the outline's signed distance, and white noise in -0.5..0.5.
PATTERNS: dict[str, Callable[[Points, Points, Points, Points], Points]] = {
    "plain": _plain, "striped": _striped, "checked": _checked, "dotted": _dotted, "ringed": _ringed,
    "shaded": _shaded, "edged": _edged, "halved": _halved, "quartered": _quartered, "speckled": _speckled}
