"""A drawn data set that needs no network: one figure per image, its class an outline, or an outline and a pattern.

Position, size, rotation, colours (light on dark or dark on light), background gradient, distracting blobs and noise are
random in each image, so that no pixel reveals the class and a linear classifier fails. An image is a pure function of
(seed, split, index): the counts only end a split, and the resolution only samples the same scene, except for noise.
(Another processor's sine may round one value in ten thousand differently.)
"""

from functools import partial

import numpy as np

from loaders.common.counter_rng import hash64, uniform
from loaders.sources.base import Source, Split, digest_of, memory_for
from loaders.sources.outlines import OUTLINES, PATTERNS

# Part of the fingerprint: raise it when a pixel changes.
VERSION = 1
DISTRACTORS = 3
# Radians either way; a larger range would need more training images.
LARGEST_TURN = np.pi / 4
_SPLITS = {"train": 0, "test": 1}
_DRAW, _NOISE, _LABEL = 1, 2, 3
_PIXELS_AT_ONCE = 1 << 16
_NAMES = ("pattern", "x", "y", "size", "turn", "pattern_turn", "dark_on_light", "middle", "gap", "swap",
          "gradient_turn", "gradient", "noise", *(f"{what}_{c}" for what in ("ground", "near", "far") for c in "rgb"),
          *(f"blob{k}_{what}" for k in range(DISTRACTORS) for what in ("x", "y", "size", "r", "g", "b")))


def open_shapes(classes: int, resolution: int, train_count: int, test_count: int, seed: int) -> Source:
    """A source of 10 to 100 classes; a class is an outline, or, with more than 10, an outline with a pattern."""
    kinds, surfaces = list(OUTLINES), list(PATTERNS)
    names = tuple(kinds) if classes == len(kinds) else tuple(
        f"{kinds[c % len(kinds)]}, {surfaces[c // len(kinds)]}" for c in range(classes))
    counts = {"train": train_count, "test": test_count}
    fingerprint = digest_of("shapes", VERSION, classes, resolution, sorted(counts.items()), seed)
    return Source("shapes", names, resolution, fingerprint, tuple(_SPLITS),
                  partial(_draw_split, counts, classes, resolution, seed))


def _draw_split(counts: dict[str, int], classes: int, resolution: int, seed: int, split: str) -> Split:
    count, stream = counts[split], _SPLITS[split]
    with memory_for(count, resolution, f"data.{split}_count={count}"):
        labels = labels_of(np.arange(count), classes, seed, stream)
        images_nhwc = np.empty((count, resolution, resolution, 3), np.uint8)
    step = max(1, _PIXELS_AT_ONCE // resolution**2)
    for start in range(0, count, step):
        rows = np.arange(start, min(start + step, count))
        images_nhwc[rows] = draw(rows, labels[rows], classes, resolution, seed, stream)
    return Split(images_nhwc, labels)


def labels_of(indices: np.ndarray, classes: int, seed: int, stream: int) -> np.ndarray:
    """int64 class of each index: each block of `classes` images has every class once, in random order."""
    block, place = np.divmod(indices, classes)
    orders = np.argsort(hash64(seed, stream, _LABEL, block[:, None], np.arange(classes)), axis=1, kind="stable")
    return orders[np.arange(len(indices)), place]


def draw(indices: np.ndarray, labels: np.ndarray, classes: int, resolution: int, seed: int, stream: int) -> np.ndarray:
    """The images of these indices and labels: uint8 (len(indices), resolution, resolution, 3)."""
    table = uniform(seed, stream, _DRAW, indices[:, None], np.arange(len(_NAMES)))
    at = {name: table[:, column, None, None] for column, name in enumerate(_NAMES)}
    noise = _noise(indices, resolution, seed, stream)
    ticks = (2 * np.arange(resolution, dtype=np.float32) + 1) / resolution - 1
    x, y = ticks[None, None, :], ticks[None, :, None]

    kind = labels % len(OUTLINES)
    drawn = (at["pattern"][:, 0, 0] * len(PATTERNS)).astype(np.int64)
    surface = drawn if classes == len(OUTLINES) else labels // len(OUTLINES)

    size = 0.48 + 0.22 * at["size"]
    u, v = _own_frame(x, y, at, size)
    distance = np.empty_like(u)
    for number, outline in enumerate(OUTLINES.values()):
        rows = np.flatnonzero(kind == number)
        distance[rows] = outline(u[rows], v[rows])
    turn = 2 * np.pi * at["pattern_turn"]
    pu, pv = np.cos(turn) * u + np.sin(turn) * v, np.cos(turn) * v - np.sin(turn) * u
    second = np.empty_like(u)
    for number, pattern in enumerate(PATTERNS.values()):
        rows = np.flatnonzero(surface == number)
        second[rows] = pattern(pu[rows], pv[rows], distance[rows], noise[rows, :, :, 0])

    unit_px = size * (resolution / 2)
    return _paint(at, x, y, _cover(-distance * unit_px), _cover(second * unit_px), noise)


def _own_frame(x: np.ndarray, y: np.ndarray, at: dict[str, np.ndarray], size: np.ndarray) -> tuple[np.ndarray, ...]:
    """Image coordinates (-1..1) shifted, rotated and scaled to each figure's frame."""
    reach = 1 - 0.9 * size
    dx, dy = x - reach * (2 * at["x"] - 1), y - reach * (2 * at["y"] - 1)
    turn = LARGEST_TURN * (2 * at["turn"] - 1)
    cos, sin = np.cos(turn) / size, np.sin(turn) / size
    return cos * dx + sin * dy, cos * dy - sin * dx


def _cover(inside_px: np.ndarray) -> np.ndarray:
    """The covered share of a pixel whose centre lies `inside_px` pixels inside an edge."""
    return np.clip(inside_px + 0.5, 0, 1)


def _noise(indices: np.ndarray, resolution: int, seed: int, stream: int) -> np.ndarray:
    """float32 (N, resolution, resolution, 3) in -0.5..0.5, one byte of hash per value."""
    values = resolution * resolution * 3
    words = hash64(seed, stream, _NOISE, indices[:, None], np.arange(-(-values // 8)))
    octets = words.astype("<u8", copy=False).view(np.uint8)[:, :values]
    return octets.reshape(-1, resolution, resolution, 3).astype(np.float32) / 255 - 0.5


def _paint(at: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray, figure: np.ndarray, second: np.ndarray,
           noise: np.ndarray) -> np.ndarray:
    """Background, blobs, figure, noise: uint8 NHWC. The figure's two colours are light on dark, or the reverse."""
    sign = np.where(at["dark_on_light"] < 0.5, -1, 1).astype(np.float32)
    level = {"ground": 0.5 + sign * (0.28 + 0.2 * at["gap"])}
    far, near = 0.5 - sign * (0.3 + 0.15 * at["gap"]), 0.5 - sign * (0.1 + 0.05 * at["middle"])
    swapped = at["swap"] < 0.5
    level["near"], level["far"] = np.where(swapped, far, near), np.where(swapped, near, far)

    turn = 2 * np.pi * at["gradient_turn"]
    slope = (np.cos(turn) * x + np.sin(turn) * y) * (0.15 * at["gradient"])
    blobs = [_cover((0.08 + 0.12 * at[f"blob{k}_size"]
                     - np.hypot(x - 2 * at[f"blob{k}_x"] + 1, y - 2 * at[f"blob{k}_y"] + 1)) * (x.shape[-1] / 2))
             for k in range(DISTRACTORS)]
    painted = np.empty((*figure.shape, 3), np.uint8)
    for channel, colour in enumerate("rgb"):
        tint = {what: level[what] + 0.3 * (at[f"{what}_{colour}"] - 0.5) for what in level}
        plane = tint["ground"] + slope
        for k, blob in enumerate(blobs):
            plane = plane + blob * (at[f"blob{k}_{colour}"] - plane)
        plane += figure * (tint["near"] + second * (tint["far"] - tint["near"]) - plane)
        plane += noise[..., channel] * (0.1 + 0.15 * at["noise"])
        painted[..., channel] = np.clip(plane * 255 + 0.5, 0, 255)
    return painted
